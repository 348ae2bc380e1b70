//! Renders `still-life.jpg`, the image that the demo draws edges of: pots, bowls and fruit before a small kiln.
//!
//!     rustc --edition 2024 -C opt-level=3 -o /tmp/still_life still_life.rs
//!     /tmp/still_life 640 427 256 > /tmp/still_life.ppm      # width, height, samples a pixel: ten minutes on two cores
//!     python3 -c "from PIL import Image; Image.open('/tmp/still_life.ppm').save('still-life.jpg', quality=95)"
//!
//! A path tracer of one file: shapes are distance fields that are marched within their bounding spheres, light comes
//! from a window, from a dim room and from the fire. It uses nothing but the standard library and counts its random
//! numbers from the pixel, so the picture is the same at every run.

use std::f64::consts::{PI, TAU};
use std::io::Write;
use std::ops::{Add, Div, Mul, Neg, Sub};

// ---- vectors ----

#[derive(Clone, Copy, Debug, PartialEq)]
struct V(f64, f64, f64);

impl Add for V {
    type Output = V;
    fn add(self, o: V) -> V {
        V(self.0 + o.0, self.1 + o.1, self.2 + o.2)
    }
}
impl Sub for V {
    type Output = V;
    fn sub(self, o: V) -> V {
        V(self.0 - o.0, self.1 - o.1, self.2 - o.2)
    }
}
impl Mul<f64> for V {
    type Output = V;
    fn mul(self, k: f64) -> V {
        V(self.0 * k, self.1 * k, self.2 * k)
    }
}
impl Mul for V {
    type Output = V;
    fn mul(self, o: V) -> V {
        V(self.0 * o.0, self.1 * o.1, self.2 * o.2)
    }
}
impl Div<f64> for V {
    type Output = V;
    fn div(self, k: f64) -> V {
        self * (1.0 / k)
    }
}
impl Neg for V {
    type Output = V;
    fn neg(self) -> V {
        self * -1.0
    }
}

impl V {
    fn dot(self, o: V) -> f64 {
        self.0 * o.0 + self.1 * o.1 + self.2 * o.2
    }
    fn cross(self, o: V) -> V {
        V(self.1 * o.2 - self.2 * o.1, self.2 * o.0 - self.0 * o.2, self.0 * o.1 - self.1 * o.0)
    }
    fn length(self) -> f64 {
        self.dot(self).sqrt()
    }
    fn unit(self) -> V {
        self / self.length()
    }
    fn mix(self, o: V, k: f64) -> V {
        self * (1.0 - k) + o * k
    }
}

fn smoothstep(a: f64, b: f64, x: f64) -> f64 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

// ---- random numbers and noise ----

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn hash(x: i64, y: i64, z: i64) -> f64 {
    let seed = (x as u64).wrapping_mul(0x8da6_b343)
        ^ (y as u64).wrapping_mul(0xd816_3841)
        ^ (z as u64).wrapping_mul(0xcb1a_b31f);
    Random(seed).next()
}

/// Smooth noise from 0 to 1.
fn noise(p: V) -> f64 {
    let (x, y, z) = (p.0.floor(), p.1.floor(), p.2.floor());
    let fade = |t: f64| t * t * (3.0 - 2.0 * t);
    let (u, v, w) = (fade(p.0 - x), fade(p.1 - y), fade(p.2 - z));
    let (x, y, z) = (x as i64, y as i64, z as i64);
    let mut sum = 0.0;
    for (dx, kx) in [(0, 1.0 - u), (1, u)] {
        for (dy, ky) in [(0, 1.0 - v), (1, v)] {
            for (dz, kz) in [(0, 1.0 - w), (1, w)] {
                sum += kx * ky * kz * hash(x + dx, y + dy, z + dz);
            }
        }
    }
    sum
}

/// Noise of several scales, from 0 to 1.
fn fractal(p: V) -> f64 {
    (0..4).map(|octave| noise(p * f64::from(1 << octave)) * 0.5f64.powi(octave + 1)).sum::<f64>() / 0.9375
}

// ---- shapes ----

/// A wall of clay turned on the wheel: the curve (radius, height) through points, thickened.
struct Lathe {
    curve: Vec<(f64, f64)>,
    thickness: f64,
}

impl Lathe {
    fn new(points: &[(f64, f64)], thickness: f64) -> Lathe {
        let at = |i: isize| points[i.clamp(0, points.len() as isize - 1) as usize];
        let mut curve = vec![];
        for i in 0..points.len() as isize - 1 {
            let (p0, p1, p2, p3) = (at(i - 1), at(i), at(i + 1), at(i + 2));
            for step in 0..6 {
                let t = f64::from(step) / 6.0;
                let spline = |a: f64, b: f64, c: f64, d: f64| {
                    0.5 * (2.0 * b
                        + (c - a) * t
                        + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t
                        + (3.0 * b - a - 3.0 * c + d) * t * t * t)
                };
                curve.push((spline(p0.0, p1.0, p2.0, p3.0).max(0.0), spline(p0.1, p1.1, p2.1, p3.1)));
            }
        }
        curve.push(at(points.len() as isize - 1));
        Lathe { curve, thickness }
    }

    fn distance(&self, p: V) -> f64 {
        let (r, y) = (p.0.hypot(p.2), p.1);
        let mut best = f64::MAX;
        for pair in self.curve.windows(2) {
            let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
            let (dx, dy) = (bx - ax, by - ay);
            let t = (((r - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
            let (ex, ey) = (r - ax - dx * t, y - ay - dy * t);
            best = best.min(ex * ex + ey * ey);
        }
        best.sqrt() - self.thickness
    }
}

fn rounded_box(p: V, half: V, radius: f64) -> f64 {
    let q = V(p.0.abs() - half.0 + radius, p.1.abs() - half.1 + radius, p.2.abs() - half.2 + radius);
    let outside = V(q.0.max(0.0), q.1.max(0.0), q.2.max(0.0)).length();
    outside + q.0.max(q.1).max(q.2).min(0.0) - radius
}

fn capsule(p: V, a: V, b: V, ra: f64, rb: f64) -> f64 {
    let (pa, ba) = (p - a, b - a);
    let t = (pa.dot(ba) / ba.dot(ba)).clamp(0.0, 1.0);
    (pa - ba * t).length() - (ra + (rb - ra) * t)
}

fn smooth_union(a: f64, b: f64, k: f64) -> f64 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k / 4.0
}

/// A ring in the plane z = 0, drawn out to an oval.
fn ring(p: V, stretch: f64, radius: f64, thickness: f64) -> f64 {
    let q = V(p.0, p.1 / stretch, p.2);
    ((q.0.hypot(q.1) - radius).hypot(q.2) - thickness) * 0.8
}

const ARCH_INNER: f64 = 0.95;
const ARCH_OUTER: f64 = 1.55;
const SPRING: f64 = 0.95; // where the arch begins
const KILN_DEPTH: f64 = 0.9;

/// Which brick of the kiln's front a place belongs to, and the distance to the nearest joint.
fn brick(p: V) -> (i64, i64, f64) {
    if p.1 > SPRING {
        let (angle, radius) = ((p.1 - SPRING).atan2(p.0), p.0.hypot(p.1 - SPRING));
        let along = angle / PI * 13.0;
        let cell = along.floor();
        let joint = (along - cell).min(1.0 - (along - cell)) * PI / 13.0 * radius;
        // no joint lies in the plane of the front or of the back wall
        let z = p.2 / 0.45 + 0.3;
        let depth = z.floor();
        let cross = (z - depth).min(1.0 - (z - depth)) * 0.45;
        (cell as i64 + 100, depth as i64, joint.min(cross))
    } else {
        let row = (p.1 / 0.19).floor();
        let shift = if row as i64 % 2 == 0 { 0.0 } else { 0.5 };
        let across = p.0 / 0.6 + shift + 0.08;
        let into = p.2 / 0.45 + 0.3 + shift;
        let (cx, cz) = (across.floor(), into.floor());
        let y = (p.1 / 0.19 - row).min(1.0 - (p.1 / 0.19 - row)) * 0.19;
        let x = (across - cx).min(1.0 - (across - cx)) * 0.6;
        let z = (into - cz).min(1.0 - (into - cz)) * 0.45;
        (row as i64 * 31 + cx as i64, cz as i64, x.min(y).min(z))
    }
}

fn kiln(p: V) -> f64 {
    let profile = |radius: f64| {
        let arch = if p.1 > SPRING { p.0.hypot(p.1 - SPRING) } else { p.0.abs() };
        arch - radius
    };
    let wall = profile(ARCH_OUTER).max(-profile(ARCH_INNER)).max(-p.1);
    let front = (p.2.abs() - KILN_DEPTH).max(wall);
    // a back wall closes it
    let back = profile(ARCH_OUTER).max((p.2 + KILN_DEPTH - 0.1).abs() - 0.1).max(-p.1);
    let body = front.min(back);
    if body > 0.1 {
        return body * 0.9;
    }
    let (_, _, joint) = brick(p);
    let rough = 0.008 * (noise(p * 14.0) - 0.5);
    (body + 0.022 * (1.0 - smoothstep(0.0, 0.03, joint)) + rough) * 0.7
}

#[derive(Clone, Copy)]
struct Material {
    colour: V,
    /// How much of a coat of glaze lies over it, and how rough that is.
    coat: f64,
    rough: f64,
    glow: V,
}

fn clay(colour: V) -> Material {
    Material { colour, coat: 0.0, rough: 1.0, glow: V(0.0, 0.0, 0.0) }
}

fn glaze(colour: V, coat: f64, rough: f64) -> Material {
    Material { coat, rough, ..clay(colour) }
}

type Field = Box<dyn Fn(V) -> f64 + Sync>;
type Paint = Box<dyn Fn(V) -> Material + Sync>;

struct Object {
    place: V,
    turn: f64,
    /// A sphere around it; its centre as the field sees it.
    centre: V,
    radius: f64,
    field: Field,
    paint: Paint,
}

impl Object {
    fn local(&self, p: V) -> V {
        let (sin, cos) = self.turn.sin_cos();
        let q = p - self.place;
        V(cos * q.0 - sin * q.2, q.1, sin * q.0 + cos * q.2)
    }

    fn hit(&self, from: V, direction: V, limit: f64) -> Option<f64> {
        let (sin, cos) = self.turn.sin_cos();
        let c = self.centre;
        let offset = from - self.place - V(cos * c.0 + sin * c.2, c.1, cos * c.2 - sin * c.0);
        let (b, c) = (offset.dot(direction), offset.dot(offset) - self.radius * self.radius);
        let square = b * b - c;
        if square < 0.0 {
            return None;
        }
        let (mut t, end) = ((-b - square.sqrt()).max(0.0), (-b + square.sqrt()).min(limit));
        for _ in 0..200 {
            if t >= end {
                return None;
            }
            let distance = (self.field)(self.local(from + direction * t));
            if distance < 0.0004 {
                return Some(t);
            }
            t += distance;
        }
        None
    }

    fn normal(&self, p: V) -> V {
        let h = 0.0008;
        let corners = [V(1.0, -1.0, -1.0), V(-1.0, -1.0, 1.0), V(-1.0, 1.0, -1.0), V(1.0, 1.0, 1.0)];
        let sum = corners
            .iter()
            .fold(V(0.0, 0.0, 0.0), |sum, &corner| sum + corner * (self.field)(self.local(p + corner * h)));
        sum.unit()
    }
}

// ---- the scene ----

const WALL: f64 = -3.4;

fn lathe(place: V, points: &[(f64, f64)], thickness: f64, paint: Paint) -> Object {
    let shape = Lathe::new(points, thickness);
    let top = points.iter().map(|p| p.1).fold(0.0, f64::max);
    let wide = points.iter().map(|p| p.0).fold(0.0, f64::max);
    let radius = (top / 2.0).hypot(wide) + thickness + 0.06;
    Object {
        place,
        turn: 0.0,
        centre: V(0.0, top / 2.0, 0.0),
        radius,
        field: Box::new(move |p| shape.distance(p) * 0.95),
        paint,
    }
}

fn fruit(place: V, radius: f64, stretch: f64, turn: f64, colour: V) -> Object {
    let field = move |p: V| {
        let q = V(p.0 / stretch, p.1, p.2);
        // a lemon comes to a point at both ends
        let tip =
            0.10 * radius * smoothstep(0.75, 1.1, q.0.abs() / radius) * if stretch > 1.1 { 1.0 } else { 0.0 };
        (q.length() - radius - tip + 0.004 * (noise(p * 45.0) - 0.5)) * 0.7
    };
    Object {
        place,
        turn,
        centre: V(0.0, 0.0, 0.0),
        radius: radius * stretch.max(1.0) * 1.15,
        field: Box::new(field),
        paint: Box::new(move |p| glaze(colour * (0.85 + 0.3 * fractal(p * 3.0 + place)), 0.35, 0.35)),
    }
}

fn scene() -> Vec<Object> {
    let mut objects = vec![];

    // the kiln
    objects.push(Object {
        place: V(1.15, 0.0, -2.35),
        turn: -0.16,
        centre: V(0.0, 1.2, 0.0),
        radius: 2.3,
        field: Box::new(kiln),
        paint: Box::new(|p| {
            let (a, b, joint) = brick(p);
            let tone = hash(a, b, 7);
            let fired = V(0.52, 0.23, 0.14).mix(V(0.66, 0.40, 0.26), tone);
            let fired = fired * (0.75 + 0.5 * fractal(p * 6.0));
            let soot = smoothstep(ARCH_INNER + 0.5, ARCH_INNER - 0.05, p.0.hypot((p.1 - SPRING).max(0.0)));
            let fired = fired * (1.0 - 0.55 * soot);
            clay(V(0.50, 0.46, 0.40).mix(fired, smoothstep(0.012, 0.03, joint)))
        }),
    });
    // the fire: embers on its floor
    objects.push(Object {
        place: V(1.15, 0.0, -2.45),
        turn: -0.16,
        centre: V(0.0, 0.0, 0.0),
        radius: 1.2,
        field: Box::new(|p| {
            let lump = 0.07 * fractal(p * 5.0);
            (rounded_box(p, V(0.9, 0.10, 0.6), 0.05) - lump) * 0.6
        }),
        paint: Box::new(|p| {
            let heat = smoothstep(0.35, 0.75, fractal(p * 5.0 + V(3.0, 1.0, 8.0)));
            Material { glow: V(9.0, 2.6, 0.5) * heat, ..clay(V(0.05, 0.04, 0.04)) }
        }),
    });
    // a jar being fired
    objects.push(lathe(
        V(1.25, 0.14, -1.95),
        &[(0.0, 0.0), (0.26, 0.0), (0.40, 0.30), (0.36, 0.62), (0.20, 0.80), (0.25, 0.90)],
        0.03,
        Box::new(|_| clay(V(0.58, 0.40, 0.28))),
    ));

    // a tall vase, celadon with a dark foot
    objects.push(lathe(
        V(-2.15, 0.0, -0.55),
        &[
            (0.0, 0.0),
            (0.42, 0.0),
            (0.50, 0.12),
            (0.80, 0.85),
            (0.74, 1.50),
            (0.34, 2.05),
            (0.22, 2.40),
            (0.38, 2.72),
        ],
        0.045,
        Box::new(|p| {
            let edge = 0.32 + 0.05 * (noise(V(p.0 * 4.0, 0.0, p.2 * 4.0)) - 0.5);
            if p.1 < edge {
                return clay(V(0.30, 0.19, 0.13) * (0.8 + 0.4 * fractal(p * 9.0)));
            }
            let pool = smoothstep(2.6, 0.3, p.1);
            let colour = V(0.40, 0.60, 0.52).mix(V(0.16, 0.38, 0.36), 0.7 * pool);
            glaze(colour * (0.9 + 0.2 * fractal(p * 5.0)), 1.0, 0.06)
        }),
    ));

    // a jug of bare terracotta with a band of slip
    let body = Lathe::new(
        &[(0.0, 0.0), (0.36, 0.0), (0.62, 0.42), (0.60, 0.80), (0.36, 1.18), (0.32, 1.38), (0.42, 1.56)],
        0.045,
    );
    objects.push(Object {
        place: V(2.35, 0.0, 0.45),
        turn: 0.5,
        centre: V(0.25, 0.8, 0.0),
        radius: 1.25,
        field: Box::new(move |p| {
            let handle = ring(p - V(0.52, 0.98, 0.0), 1.35, 0.33, 0.065);
            // the handle must not reach into the jug
            let handle = handle.max(0.30 - p.0.hypot(p.2));
            smooth_union(body.distance(p), handle, 0.06) * 0.9
        }),
        paint: Box::new(|p| {
            let bare = V(0.62, 0.27, 0.15) * (0.8 + 0.4 * fractal(p * 7.0));
            let on_body = p.0.hypot(p.2) < 0.72;
            let band = smoothstep(0.02, 0.0, (p.1 - 0.62).abs() - 0.07)
                + smoothstep(0.01, 0.0, (p.1 - 0.80).abs() - 0.018);
            clay(if on_body { bare.mix(V(0.80, 0.74, 0.62), band.min(1.0)) } else { bare })
        }),
    });

    // a wide bowl, white inside, blue lines outside
    let bowl = V(-0.45, 0.0, 1.35);
    objects.push(lathe(
        bowl,
        &[(0.0, 0.06), (0.34, 0.05), (0.36, 0.0), (0.40, 0.08), (0.80, 0.28), (1.04, 0.62)],
        0.035,
        Box::new(|p| {
            let r = p.0.hypot(p.2);
            let white = V(0.80, 0.78, 0.72);
            let lines = [0.28, 0.34, 0.50].iter().any(|&y| (p.1 - y).abs() < 0.018);
            let outside = r > 0.80 + (p.1 - 0.28) * 0.70;
            let rim = p.1 > 0.625;
            glaze(if (lines && outside) || rim { V(0.10, 0.17, 0.42) } else { white }, 0.9, 0.08)
        }),
    ));
    let orange = V(0.86, 0.31, 0.04);
    let lemon = V(0.82, 0.52, 0.06);
    objects.push(fruit(bowl + V(-0.36, 0.50, 0.12), 0.31, 1.0, 0.0, orange));
    objects.push(fruit(bowl + V(0.24, 0.50, 0.32), 0.30, 1.0, 0.0, orange * 0.95));
    objects.push(fruit(bowl + V(0.30, 0.52, -0.34), 0.28, 1.25, 0.8, lemon));
    objects.push(fruit(bowl + V(-0.10, 0.74, -0.12), 0.27, 1.25, -0.4, lemon));
    objects.push(fruit(V(1.05, 0.245, 2.25), 0.245, 1.28, 0.5, lemon));

    // two cups, one on its side
    let cup = [(0.0, 0.04), (0.22, 0.04), (0.28, 0.10), (0.30, 0.35), (0.34, 0.56)];
    objects.push(lathe(
        V(-2.05, 0.0, 1.55),
        &cup,
        0.03,
        Box::new(|p| {
            let run = 0.34 + 0.10 * (noise(V(p.0 * 5.0, 1.0, p.2 * 5.0)) - 0.5);
            if p.1 < run {
                clay(V(0.72, 0.62, 0.48) * (0.85 + 0.3 * fractal(p * 11.0)))
            } else {
                glaze(V(0.12, 0.20, 0.38), 1.0, 0.05)
            }
        }),
    ));
    let lying = Lathe::new(&cup, 0.03);
    objects.push(Object {
        place: V(2.28, 0.285, 1.52),
        turn: -1.9,
        centre: V(0.28, 0.0, 0.0),
        radius: 0.6,
        // the wheel's axis along x, rising towards the rim, which is wider than the foot
        field: Box::new(move |p| {
            let (sin, cos) = 0.17f64.sin_cos();
            let q = V(cos * p.0 + sin * p.1, cos * p.1 - sin * p.0, p.2);
            lying.distance(V(q.1, q.0, q.2)) * 0.95
        }),
        paint: Box::new(|p| glaze(V(0.62, 0.66, 0.58) * (0.9 + 0.2 * fractal(p * 9.0)), 0.8, 0.1)),
    });

    // a turning tool of wood
    objects.push(Object {
        place: V(1.35, 0.0, 1.35),
        turn: -0.55,
        centre: V(0.0, 0.06, 0.0),
        radius: 0.85,
        field: Box::new(|p| {
            let handle = capsule(p, V(-0.7, 0.055, 0.0), V(0.25, 0.05, 0.0), 0.055, 0.035);
            let blade = rounded_box(p - V(0.45, 0.045, 0.0), V(0.25, 0.02, 0.075), 0.018);
            smooth_union(handle, blade, 0.06) * 0.9
        }),
        paint: Box::new(|p| {
            if p.0 > 0.22 {
                return glaze(V(0.55, 0.56, 0.58), 1.0, 0.2);
            }
            clay(V(0.30, 0.13, 0.06) * (0.7 + 0.5 * noise(V(p.0 * 3.0, p.1 * 40.0, p.2 * 40.0))))
        }),
    });

    // a striped cloth under the bowl
    objects.push(Object {
        place: V(-0.6, 0.0, 1.45),
        turn: 0.28,
        centre: V(0.0, 0.0, 0.0),
        radius: 2.0,
        field: Box::new(|p| {
            let wave = 0.010 * (p.0 * 5.0 + 1.0).sin() * (p.2 * 3.0).cos();
            rounded_box(p - V(0.0, 0.008 + wave, 0.0), V(1.75, 0.012, 0.80), 0.01) * 0.8
        }),
        paint: Box::new(|p| {
            let weave = 0.92 + 0.08 * (p.0 * 190.0).sin() * (p.2 * 190.0).sin();
            let stripe = [0.52, 0.58, 0.64].iter().any(|&z| (p.2.abs() - z).abs() < 0.018);
            let hem = p.0.abs() > 1.66 && p.0.abs() < 1.70;
            clay(if stripe || hem { V(0.55, 0.10, 0.08) } else { V(0.74, 0.70, 0.60) } * weave)
        }),
    });

    // a shelf with three small pots
    objects.push(Object {
        place: V(-2.35, 2.62, WALL + 0.34),
        turn: 0.0,
        centre: V(0.0, 0.0, 0.0),
        radius: 1.6,
        field: Box::new(|p| {
            let board = rounded_box(p, V(1.45, 0.05, 0.34), 0.015);
            let bracket = |x: f64| rounded_box(p - V(x, -0.17, -0.1), V(0.04, 0.14, 0.22), 0.01);
            board.min(bracket(-1.05)).min(bracket(1.05))
        }),
        paint: Box::new(|p| clay(wood(V(p.0, p.2, p.1) * 1.4) * 0.8)),
    });
    objects.push(lathe(
        V(-3.2, 2.67, WALL + 0.36),
        &[(0.0, 0.0), (0.17, 0.0), (0.30, 0.24), (0.22, 0.46), (0.13, 0.54), (0.17, 0.62)],
        0.025,
        Box::new(|p| glaze(if p.1 > 0.3 { V(0.55, 0.36, 0.10) } else { V(0.28, 0.15, 0.07) }, 0.8, 0.12)),
    ));
    objects.push(lathe(
        V(-2.4, 2.67, WALL + 0.36),
        &[(0.0, 0.03), (0.16, 0.03), (0.30, 0.14), (0.38, 0.32)],
        0.025,
        Box::new(|_| glaze(V(0.72, 0.70, 0.66), 0.8, 0.1)),
    ));
    objects.push(lathe(
        V(-1.6, 2.67, WALL + 0.36),
        &[(0.0, 0.0), (0.14, 0.0), (0.20, 0.14), (0.10, 0.42), (0.08, 0.62), (0.13, 0.74)],
        0.022,
        Box::new(|_| glaze(V(0.16, 0.30, 0.45), 0.9, 0.08)),
    ));
    objects
}

fn wood(p: V) -> V {
    let grain = fractal(V(p.0 * 1.2, p.1 * 14.0, p.2));
    let rings = (p.1 * 26.0 + 5.0 * fractal(p * 1.5)).sin() * 0.5 + 0.5;
    V(0.36, 0.21, 0.11).mix(V(0.55, 0.36, 0.20), 0.65 * grain + 0.35 * rings)
}

/// The table's boards, its colour and how the light bounces off its varnish.
fn table(p: V) -> Material {
    let board = (p.2 / 0.9).floor();
    let across = p.2 / 0.9 - board;
    let gap = across.min(1.0 - across) * 0.9;
    let tone = 0.75 + 0.4 * hash(board as i64, 3, 1);
    let colour = wood(V(p.0 * 0.5 + 9.0 * board, p.2, board)) * tone;
    if gap < 0.012 { clay(colour * 0.12) } else { glaze(colour, 0.45, 0.22) }
}

fn plaster(p: V) -> Material {
    let stain = fractal(V(p.0 * 0.7, p.1 * 0.7, 4.0));
    let fine = fractal(V(p.0 * 9.0, p.1 * 9.0, 2.0));
    let tone = 0.86 + 0.16 * stain + 0.07 * fine;
    // the lower part is painted
    if p.1 < 1.15 { clay(V(0.30, 0.40, 0.40) * tone) } else { clay(V(0.70, 0.65, 0.55) * tone) }
}

// ---- light ----

/// The window: a rectangle left of the table.
const WINDOW: V = V(-6.2, 4.2, 2.6);
const WINDOW_U: V = V(0.9, 0.0, 1.5); // half its width
const WINDOW_V: V = V(0.35, 1.5, -0.2); // half its height
const DAYLIGHT: V = V(25.0, 23.0, 20.0);

/// What the flames give: a ball over the embers that no ray meets.
const FLAMES: V = V(1.1, 0.55, -2.2);
const FLAMES_RADIUS: f64 = 0.3;
const FIRELIGHT: V = V(5.5, 1.9, 0.5);

fn room(direction: V) -> V {
    V(0.12, 0.13, 0.15).mix(V(0.24, 0.235, 0.23), direction.1 * 0.5 + 0.5)
}

struct Hit {
    t: f64,
    normal: V,
    material: Material,
}

fn trace(objects: &[Object], from: V, direction: V) -> Option<Hit> {
    let mut nearest: Option<(f64, Option<&Object>)> = None;
    let mut limit = 60.0;
    if direction.1 < -1e-9 {
        limit = -from.1 / direction.1;
        nearest = Some((limit, None));
    }
    if direction.2 < -1e-9 {
        let t = (WALL - from.2) / direction.2;
        if t < limit {
            limit = t;
            nearest = Some((limit, None));
        }
    }
    for object in objects {
        if let Some(t) = object.hit(from, direction, limit) {
            limit = t;
            nearest = Some((t, Some(object)));
        }
    }
    let (t, object) = nearest?;
    let p = from + direction * t;
    Some(match object {
        Some(object) => Hit { t, normal: object.normal(p), material: (object.paint)(object.local(p)) },
        None if p.1 < 1e-6 => Hit { t, normal: V(0.0, 1.0, 0.0), material: table(p) },
        None => Hit { t, normal: V(0.0, 0.0, 1.0), material: plaster(p) },
    })
}

fn blocked(objects: &[Object], from: V, direction: V, distance: f64) -> bool {
    let wall = direction.2 < -1e-9 && (WALL - from.2) / direction.2 < distance;
    wall || objects.iter().any(|object| object.hit(from, direction, distance).is_some())
}

/// Where a ray meets the window.
fn window(from: V, direction: V) -> Option<f64> {
    let normal = WINDOW_U.cross(WINDOW_V);
    let t = (WINDOW - from).dot(normal) / direction.dot(normal);
    let q = from + direction * t - WINDOW;
    let (u, v) = (q.dot(WINDOW_U) / WINDOW_U.dot(WINDOW_U), q.dot(WINDOW_V) / WINDOW_V.dot(WINDOW_V));
    // glazing bars show in the reflections
    let bar = u.abs() < 0.05 || v.abs() < 0.04;
    (t > 0.0 && u.abs() < 1.0 && v.abs() < 1.0 && !bar).then_some(t)
}

fn around(normal: V, u: f64, v: f64, power: f64) -> V {
    let side = if normal.0.abs() > 0.5 { V(0.0, 1.0, 0.0) } else { V(1.0, 0.0, 0.0) };
    let x = normal.cross(side).unit();
    let y = normal.cross(x);
    let cos = u.powf(1.0 / (power + 1.0));
    let sin = (1.0 - cos * cos).max(0.0).sqrt();
    let (b, a) = (v * TAU).sin_cos();
    (x * (a * sin) + y * (b * sin) + normal * cos).unit()
}

fn radiance(objects: &[Object], mut from: V, mut direction: V, random: &mut Random) -> V {
    let (mut light, mut weight) = (V(0.0, 0.0, 0.0), V(1.0, 1.0, 1.0));
    let (mut mirrored, mut scattered) = (true, false);
    for bounce in 0..6 {
        let hit = trace(objects, from, direction);
        if mirrored && bounce > 0 {
            let reach = hit.as_ref().map_or(f64::MAX, |hit| hit.t);
            if window(from, direction).is_some_and(|t| t < reach) {
                return light + weight * DAYLIGHT;
            }
        }
        let Some(Hit { t, normal, material }) = hit else {
            return light + weight * room(direction);
        };
        if mirrored {
            light = light + weight * material.glow;
        }
        let normal = if normal.dot(direction) > 0.0 { -normal } else { normal };
        let p = from + direction * t + normal * 0.002;
        let cos = -normal.dot(direction);
        // light that is first scattered and then mirrored is rare and bright: specks, so it is left out
        let coat = if scattered { 0.0 } else { material.coat };
        let fresnel = coat * (0.04 + 0.96 * (1.0 - cos).max(0.0).powi(5));
        if random.next() < fresnel {
            let mirror = direction + normal * (2.0 * cos);
            let power = 2.0 / (material.rough * material.rough).max(1e-4);
            let bent = around(mirror, random.next(), random.next(), power);
            direction = if bent.dot(normal) > 0.0 { bent } else { mirror };
            from = p;
            mirrored = true;
            continue;
        }
        weight = weight * material.colour;
        // the flames: half of the paths ask for them, and count twice
        if random.next() < 0.5 {
            let place = FLAMES + around(V(0.0, 1.0, 0.0), random.next(), random.next(), 0.0) * FLAMES_RADIUS;
            let way = place - p;
            let distance = way.length();
            let angle = way.dot(normal) / distance;
            if angle > 0.0 && !blocked(objects, p, way / distance, distance) {
                light = light
                    + weight * FIRELIGHT * (2.0 * angle * FLAMES_RADIUS.powi(2) / distance.max(0.3).powi(2));
            }
        }
        // a point of the window
        let target = WINDOW + WINDOW_U * (2.0 * random.next() - 1.0) + WINDOW_V * (2.0 * random.next() - 1.0);
        let way = target - p;
        let distance = way.length();
        let towards = way / distance;
        let face = WINDOW_U.cross(WINDOW_V) * 4.0;
        let angle = towards.dot(normal);
        if angle > 0.0 && !blocked(objects, p, towards, distance) {
            let share = angle * face.dot(towards).abs() / (distance * distance * PI);
            light = light + weight * DAYLIGHT * share;
        }
        direction = around(normal, random.next(), random.next(), 1.0);
        from = p;
        (mirrored, scattered) = (false, true);
        if bounce > 1 {
            let keep = weight.0.max(weight.1).max(weight.2).min(0.95);
            if random.next() > keep {
                break;
            }
            weight = weight / keep;
        }
    }
    light
}

// ---- the picture ----

/// Narkowicz's fit of the ACES curve, then sRGB.
fn develop(light: f64) -> u8 {
    let x = light * 0.78;
    let film = (x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0.0, 1.0);
    let code = if film <= 0.003_130_8 { 12.92 * film } else { 1.055 * film.powf(1.0 / 2.4) - 0.055 };
    (code * 255.0 + 0.5) as u8
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [width, height, samples] = numbers[..] else {
        eprintln!("expected WIDTH HEIGHT SAMPLES");
        std::process::exit(2);
    };
    let objects = scene();
    let eye = V(0.15, 3.05, 8.3);
    let ahead = (V(0.02, 1.22, 0.0) - eye).unit();
    let right = ahead.cross(V(0.0, 1.0, 0.0)).unit();
    let up = right.cross(ahead);
    let zoom = 0.405; // tangent of half the field of view across
    let grid = (samples as f64).sqrt().round().max(1.0) as usize;

    let pixel = |x: usize, y: usize| {
        let mut random = Random((y * width + x) as u64 * 0x5851_f42d_4c95_7f2d);
        let mut sum = V(0.0, 0.0, 0.0);
        for sample in 0..grid * grid {
            let dx = ((sample % grid) as f64 + random.next()) / grid as f64;
            let dy = ((sample / grid) as f64 + random.next()) / grid as f64;
            let sx = (2.0 * (x as f64 + dx) - width as f64) / width as f64 * zoom;
            let sy = (height as f64 - 2.0 * (y as f64 + dy)) / width as f64 * zoom;
            let light = radiance(&objects, eye, (ahead + right * sx + up * sy).unit(), &mut random);
            // a rare bright path would leave a speck
            let peak = light.0.max(light.1).max(light.2);
            sum = sum + if peak > 8.0 { light * (8.0 / peak) } else { light };
        }
        let mean = sum / (grid * grid) as f64;
        [develop(mean.0), develop(mean.1), develop(mean.2)]
    };

    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let mut rows = vec![vec![0u8; width * 3]; height];
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done: Vec<(usize, Vec<u8>)> = std::thread::scope(|scope| {
        let work = || {
            let mut own = vec![];
            loop {
                let y = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if y >= height {
                    return own;
                }
                own.push((y, (0..width).flat_map(|x| pixel(x, y)).collect()));
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("a thread should end well")).collect()
    });
    for (y, row) in done {
        rows[y] = row;
    }
    let mut out = std::io::stdout().lock();
    write!(out, "P6\n{width} {height}\n255\n")
        .and_then(|()| out.write_all(&rows.concat()))
        .expect("it should be written");
}
