//! grid
//!
//! The position of a workgroup in the folded count of a dispatch. A count over the limit of one dimension is folded
//! by the host into x and y, so surplus workgroups are possible: a kernel returns where its position is past the end.

fn flat_workgroup(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
