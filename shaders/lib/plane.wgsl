//! plane
//!
//! A tensor of [n][channels][inner] as planes of `inner` neighbours that share a channel, each cut into runs of
//! LANES * STEPS elements. LANES invocations share a run, so a workgroup makes THREADS / LANES of them, and what belongs
//! to the channel is found once a run instead of by divisions at each element. The kernel declares THREADS, LANES and
//! STEPS; the host says how many runs a plane has.

struct Run {
    plane: u32,
    // Within the plane: the first element of this invocation, whose others follow at a distance of LANES, and the end
    // of the run. The plane may end earlier.
    start: u32,
    end: u32,
}

fn plane_run(workgroup: u32, thread: u32, runs_per_plane: u32) -> Run {
    // Where a workgroup has one run the division is told to be 0, so that the driver sees one channel for all threads.
    let own = select(thread / LANES, 0u, LANES == THREADS);
    let run = workgroup * (THREADS / LANES) + own;
    let first = run % runs_per_plane * (LANES * STEPS);
    return Run(run / runs_per_plane, first + thread % LANES, first + LANES * STEPS);
}
