//! What a device reports outside of any call: errors nobody asked about, and its own loss.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::GpuError;

/// Keeps the first report until a call can hand it to the caller.
#[derive(Debug, Default)]
pub(crate) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Stays set: a lost device never comes back.
    lost: Option<String>,
    /// Handed out once.
    stray: Option<GpuError>,
}

impl Health {
    /// Stores the loss of the device; the first reason counts.
    pub(crate) fn lose(&self, reason: &str) {
        let reason = crate::error::one_line(reason);
        log::debug!("device lost: {reason}");
        self.state().lost.get_or_insert(reason);
    }

    /// Stores an error that no call was waiting for.
    pub(crate) fn stray(&self, error: GpuError) {
        log::debug!("uncaptured device error: {error}");
        self.state().stray.get_or_insert(error);
    }

    /// The reason of the loss as an error, or the stray error, or nothing.
    pub(crate) fn check(&self) -> Result<(), GpuError> {
        let mut state = self.state();
        if let Some(reason) = &state.lost {
            return Err(GpuError::Lost { reason: reason.clone() });
        }
        state.stray.take().map_or(Ok(()), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Both fields are valid at every moment, so a panic elsewhere leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_error_comes_out_once_and_a_loss_for_ever() {
        let health = Health::default();
        assert_eq!(health.check(), Ok(()));
        health.stray(GpuError::validation("first", "x"));
        health.stray(GpuError::validation("second", "x"));
        assert_eq!(health.check(), Err(GpuError::validation("first", "x")));
        assert_eq!(health.check(), Ok(()));
        health.lose("driver reset\n");
        health.lose("later");
        for _ in 0..2 {
            assert_eq!(health.check(), Err(GpuError::Lost { reason: "driver reset".into() }));
        }
    }
}
