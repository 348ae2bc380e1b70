use std::io;

/// Why a server can't be started or goes down. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("port {port} of {host} is in use; name another with --port, or 0 for one that is free")]
    PortInUse {
        /// The host as it was given.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host has no address, or none of this machine's.
    #[error("cannot listen on {host}, port {port}: {source}")]
    Bind {
        /// The host as it was given.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The machine has no room for uploads, or no threads.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ServeError {
    /// Whether what the user gave is at fault (exit code 2), rather than the machine (1).
    pub fn is_input_error(&self) -> bool {
        matches!(self, ServeError::PortInUse { .. } | ServeError::Bind { .. })
    }
}
