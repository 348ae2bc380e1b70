//! The optimizers of `torch.optim` as plain loops, from the formulas of its documentation.

/// `torch.optim.SGD` of one parameter.
#[derive(Clone, Debug, Default)]
pub struct Sgd {
    /// How much of the buffer stays; 0 for no buffer.
    pub momentum: f64,
    /// How much of the gradient does not reach the buffer.
    pub dampening: f64,
    /// Nesterov's look ahead.
    pub nesterov: bool,
    /// How much of the parameter is added to its gradient.
    pub weight_decay: f64,
    /// The buffer, empty before the first step.
    pub momentum_buffer: Vec<f64>,
}

impl Sgd {
    /// One step at the learning rate `lr`.
    pub fn step(&mut self, parameter: &mut [f64], gradient: &[f64], lr: f64) {
        let mut d: Vec<f64> =
            gradient.iter().zip(&*parameter).map(|(g, p)| g + self.weight_decay * p).collect();
        if self.momentum != 0.0 {
            if self.momentum_buffer.is_empty() {
                self.momentum_buffer.clone_from(&d);
            } else {
                for (b, d) in self.momentum_buffer.iter_mut().zip(&d) {
                    *b = self.momentum * *b + (1.0 - self.dampening) * d;
                }
            }
            for (d, b) in d.iter_mut().zip(&self.momentum_buffer) {
                *d = if self.nesterov { *d + self.momentum * b } else { *b };
            }
        }
        for (p, d) in parameter.iter_mut().zip(&d) {
            *p -= lr * d;
        }
    }
}

/// `torch.optim.Adam` of one parameter, or `AdamW`.
#[derive(Clone, Debug, Default)]
pub struct Adam {
    /// How much of the gradient's mean stays, and how much of the square's.
    pub betas: [f64; 2],
    /// Added to the root.
    pub eps: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// Whether the decay is AdamW's: taken off the parameter instead of added to its gradient.
    pub decoupled: bool,
    /// Steps so far.
    pub steps: i32,
    /// The gradient's mean.
    pub exp_avg: Vec<f64>,
    /// The squared gradient's mean.
    pub exp_avg_sq: Vec<f64>,
}

impl Adam {
    /// One step at the learning rate `lr`.
    pub fn step(&mut self, parameter: &mut [f64], gradient: &[f64], lr: f64) {
        self.steps += 1;
        self.exp_avg.resize(parameter.len(), 0.0);
        self.exp_avg_sq.resize(parameter.len(), 0.0);
        let [beta1, beta2] = self.betas;
        for (i, p) in parameter.iter_mut().enumerate() {
            let mut d = gradient[i];
            if self.decoupled {
                *p *= 1.0 - lr * self.weight_decay;
            } else {
                d += self.weight_decay * *p;
            }
            self.exp_avg[i] = beta1 * self.exp_avg[i] + (1.0 - beta1) * d;
            self.exp_avg_sq[i] = beta2 * self.exp_avg_sq[i] + (1.0 - beta2) * d * d;
            let mean = self.exp_avg[i] / (1.0 - beta1.powi(self.steps));
            let square = self.exp_avg_sq[i] / (1.0 - beta2.powi(self.steps));
            *p -= lr * mean / (square.sqrt() + self.eps);
        }
    }
}

/// `torch.optim.RMSprop` of one parameter, not centred.
#[derive(Clone, Debug, Default)]
pub struct RmsProp {
    /// How much of the squared gradient's mean stays.
    pub alpha: f64,
    /// Added to the root.
    pub eps: f64,
    /// How much of the parameter is added to its gradient.
    pub weight_decay: f64,
    /// How much of the buffer stays; 0 for no buffer.
    pub momentum: f64,
    /// The squared gradient's mean.
    pub square_avg: Vec<f64>,
    /// The buffer.
    pub momentum_buffer: Vec<f64>,
}

impl RmsProp {
    /// One step at the learning rate `lr`.
    pub fn step(&mut self, parameter: &mut [f64], gradient: &[f64], lr: f64) {
        self.square_avg.resize(parameter.len(), 0.0);
        self.momentum_buffer.resize(parameter.len(), 0.0);
        for (i, p) in parameter.iter_mut().enumerate() {
            let d = gradient[i] + self.weight_decay * *p;
            self.square_avg[i] = self.alpha * self.square_avg[i] + (1.0 - self.alpha) * d * d;
            let direction = d / (self.square_avg[i].sqrt() + self.eps);
            self.momentum_buffer[i] = self.momentum * self.momentum_buffer[i] + direction;
            *p -= lr * self.momentum_buffer[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_steps(mut step: impl FnMut(&mut [f64], &[f64])) -> f64 {
        let mut p = [2.0];
        step(&mut p, &[1.0]);
        step(&mut p, &[3.0]);
        p[0]
    }

    #[test]
    fn sgd_by_hand() {
        let mut plain = Sgd { weight_decay: 0.5, ..Sgd::default() };
        // d = 1 + 1, then 3 + 0.9
        assert!((two_steps(|p, g| plain.step(p, g, 0.1)) - (2.0 - 0.2 - 0.39)).abs() < 1e-15);
        let mut heavy = Sgd { momentum: 0.5, dampening: 0.25, ..Sgd::default() };
        // The buffer is 1, then 0.5 + 0.75 * 3.
        assert!((two_steps(|p, g| heavy.step(p, g, 0.1)) - (2.0 - 0.1 - 0.275)).abs() < 1e-15);
        let mut ahead = Sgd { momentum: 0.5, nesterov: true, ..Sgd::default() };
        // 1 + 0.5, then 3 + 0.5 * 3.5
        assert!((two_steps(|p, g| ahead.step(p, g, 0.1)) - (2.0 - 0.15 - 0.475)).abs() < 1e-15);
    }

    #[test]
    fn adams_first_step_is_the_learning_rate() {
        for decoupled in [false, true] {
            let mut adam = Adam { betas: [0.9, 0.999], decoupled, ..Adam::default() };
            let mut p = [2.0];
            adam.step(&mut p, &[-7.0], 0.1);
            assert!((p[0] - 2.1).abs() < 1e-12);
        }
        let mut adam = Adam { betas: [0.9, 0.999], weight_decay: 0.5, decoupled: true, ..Adam::default() };
        let mut p = [2.0];
        adam.step(&mut p, &[-7.0], 0.1);
        assert!((p[0] - (2.0 * 0.95 + 0.1)).abs() < 1e-12);
    }

    #[test]
    fn rms_prop_by_hand() {
        let mut rule = RmsProp { alpha: 0.75, momentum: 0.5, ..RmsProp::default() };
        // The squares' mean is 0.25, then 0.1875 + 2.25; the directions 2 and 3 / sqrt(2.4375).
        let second = 1.0 + 3.0 / 2.4375f64.sqrt();
        assert!((two_steps(|p, g| rule.step(p, g, 0.1)) - (2.0 - 0.2 - 0.1 * second)).abs() < 1e-15);
    }
}
