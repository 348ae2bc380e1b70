/// `[scale, norm, stopped]` of a training step: the clip coefficient of `torch.nn.utils.clip_grad_norm_`, which is
/// `min(1, max_norm / (norm + 1e-6))`, or 1 without a `max_norm`; but 0, and stopped is 1, where the loss or the squared
/// norm is not finite or an earlier step had stopped.
pub fn guard(loss: f64, squared_norm: f64, stopped: bool, max_norm: Option<f64>) -> [f64; 3] {
    let norm = squared_norm.sqrt();
    if stopped || !loss.is_finite() || !squared_norm.is_finite() {
        return [0.0, norm, 1.0];
    }
    let scale = max_norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0));
    [scale, norm, 0.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_what_is_longer() {
        assert_eq!(guard(1.0, 16.0, false, None), [1.0, 4.0, 0.0]);
        assert_eq!(guard(1.0, 16.0, false, Some(8.0)), [1.0, 4.0, 0.0]);
        assert_eq!(guard(1.0, 16.0, false, Some(2.0)), [2.0 / (4.0 + 1e-6), 4.0, 0.0]);
        assert_eq!(guard(f64::NAN, 16.0, false, None), [0.0, 4.0, 1.0]);
        assert_eq!(guard(1.0, f64::INFINITY, false, None), [0.0, f64::INFINITY, 1.0]);
        assert_eq!(guard(1.0, 16.0, true, None), [0.0, 4.0, 1.0]);
    }
}
