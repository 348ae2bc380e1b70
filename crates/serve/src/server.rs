use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::ServeError;
use crate::api::{App, router};
use crate::event::Event;
use crate::folder::Folder;
use crate::guard::Guard;
use crate::queue::Queue;
use crate::rooms::Rooms;
use crate::service::{About, Service};
use crate::worker::{Task, work};

/// Where the page is, unless another port is named.
pub const DEFAULT_PORT: u16 = 7860;

/// The bytes of an upload, at most.
pub const DEFAULT_MAX_UPLOAD: u64 = 50_000_000;

/// So many jobs may wait.
const MOST_WAITING: usize = 16;

/// How long a server that was told to stop waits for its last job and its clients.
const GRACE: Duration = Duration::from_secs(5);

/// How often it looks whether it was told to.
const LOOK: Duration = Duration::from_millis(50);

/// Where a server listens, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// An address of this machine or a name for one. Anything but loopback lets others in.
    pub host: String,
    /// A port; 0 takes one that is free.
    pub port: u16,
    /// Other names under which browsers may know the server.
    pub names: Vec<String>,
    /// The bytes of an upload, at most.
    pub max_upload: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            host: "127.0.0.1".into(),
            port: DEFAULT_PORT,
            names: Vec::new(),
            max_upload: DEFAULT_MAX_UPLOAD,
        }
    }
}

/// A server that has its port.
#[derive(Debug)]
pub struct Server {
    options: Options,
    listener: TcpListener,
    address: SocketAddr,
    runtime: Runtime,
    /// Hears the system ask the process to end, from the moment on that there is a server.
    #[cfg(unix)]
    ended: Option<tokio::signal::unix::Signal>,
}

impl Server {
    /// Takes the port. From here on browsers can connect; they are answered when the server [runs](Self::run).
    pub fn bind(options: Options) -> Result<Server, ServeError> {
        let bound = bind(&options.host, options.port).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, address) = bound.map_err(|source| {
            let Options { host, port, .. } = options.clone();
            match source.kind() {
                ErrorKind::AddrInUse => ServeError::PortInUse { host, port },
                _ => ServeError::Bind { host, port, source },
            }
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| ServeError::System { what: "start the server", source })?;
        #[cfg(unix)]
        let ended = {
            use tokio::signal::unix::{SignalKind, signal};
            let _inside = runtime.enter();
            signal(SignalKind::terminate()).ok()
        };
        Ok(Server {
            options,
            listener,
            address,
            runtime,
            #[cfg(unix)]
            ended,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether others than this machine can reach it.
    pub fn is_public(&self) -> bool {
        !self.address.ip().is_loopback()
    }

    /// What to type into a browser on this machine.
    pub fn url(&self) -> String {
        let port = self.address.port();
        match self.address.ip() {
            ip if ip.is_unspecified() => format!("http://localhost:{port}/"),
            IpAddr::V4(ip) => format!("http://{ip}:{port}/"),
            IpAddr::V6(ip) => format!("http://[{ip}]:{port}/"),
        }
    }

    /// Answers until `stop` is true, which is asked twenty times a second, or the system asks the process to end.
    ///
    /// The running job is cancelled then; one that does not notice within five seconds is left behind. `about` is asked for
    /// whenever a page wants to know, while jobs run.
    pub fn run<S: Service>(
        self,
        service: S,
        about: impl Fn() -> About + Send + Sync + 'static,
        stop: impl Fn() -> bool + Send + 'static,
    ) -> Result<(), ServeError> {
        let failed = |what| move |source| ServeError::System { what, source };
        let folder = Folder::make().map_err(failed("make a folder for uploads"))?;
        let pictures = folder.path().join("pictures");
        fs::create_dir(&pictures).map_err(failed("make a folder for uploads"))?;

        let queue = Arc::new(Queue::<Task>::new(MOST_WAITING));
        let rooms = Arc::new(Rooms::new(folder.path()));
        let stopping = Arc::new(AtomicBool::new(false));
        let worker = {
            let (queue, rooms, stopping) = (Arc::clone(&queue), Arc::clone(&rooms), Arc::clone(&stopping));
            let (done, over) = std::sync::mpsc::channel::<()>();
            let body = move || {
                work(service, &queue, &rooms, &stopping);
                drop(done);
            };
            thread::Builder::new().name("jobs".into()).spawn(body).map_err(failed("start a thread"))?;
            over
        };
        let app = Arc::new(App {
            queue: Arc::clone(&queue),
            rooms,
            about: Box::new(about),
            guard: Guard::new(self.options.names.into_iter().chain([self.options.host])),
            max_upload: self.options.max_upload,
            pictures,
            picture: AtomicU64::new(0),
        });
        #[cfg(unix)]
        let end = until(stop, self.ended);
        #[cfg(not(unix))]
        let end = until(stop);
        let outcome = self.runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(self.listener)?;
            let told = Arc::new(Notify::new());
            let stopped = {
                let told = Arc::clone(&told);
                async move {
                    end.await;
                    stopping.store(true, Ordering::SeqCst);
                    queue.close(&Event::Failed { message: "the server is stopping".into(), input: false });
                    told.notify_one();
                }
            };
            let serving = axum::serve(listener, router(app)).with_graceful_shutdown(stopped);
            tokio::select! {
                outcome = serving => outcome,
                () = async { told.notified().await; tokio::time::sleep(GRACE).await } => Ok(()),
            }
        });
        self.runtime.shutdown_background();
        // Its sender goes when the thread has ended.
        let _ = worker.recv_timeout(GRACE);
        if let Err(error) = folder.close() {
            log::warn!("uploads are left behind: {error}");
        }
        outcome.map_err(failed("serve"))
    }
}

fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    // Brackets belong to URLs.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let mut addresses: Vec<SocketAddr> = (bare, port).to_socket_addrs()?.collect();
    // `localhost` is both, and the older one is what people type.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(&*addresses)
}

/// Returns when `stop` is true, or when the process is asked to end.
#[cfg(unix)]
async fn until(stop: impl Fn() -> bool, ended: Option<tokio::signal::unix::Signal>) {
    match ended {
        Some(mut ended) => tokio::select! {
            () = asked(stop) => {}
            _ = ended.recv() => {}
        },
        None => asked(stop).await,
    }
}

/// Returns when `stop` is true.
#[cfg(not(unix))]
async fn until(stop: impl Fn() -> bool) {
    asked(stop).await;
}

async fn asked(stop: impl Fn() -> bool) {
    while !stop() {
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(host: &str, port: u16) -> Options {
        Options { host: host.into(), port, ..Options::default() }
    }

    #[test]
    fn a_port_in_use_is_named() {
        let first = Server::bind(options("127.0.0.1", 0)).expect("a port should be free");
        let port = first.address().port();
        assert_ne!(port, 0);
        assert_eq!(first.url(), format!("http://127.0.0.1:{port}/"));
        let error = Server::bind(options("127.0.0.1", port)).expect_err("the port is taken");
        assert!(error.is_input_error());
        let text = format!(
            "port {port} of 127.0.0.1 is in use; name another with --port, or 0 for one that is free"
        );
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn loopback_is_private() {
        for (host, public) in [("localhost", false), ("127.0.0.1", false), ("0.0.0.0", true)] {
            let server = Server::bind(options(host, 0)).expect("a port should be free");
            assert_eq!(server.is_public(), public, "{host}");
            assert!(server.url().starts_with("http://"));
        }
    }

    #[test]
    fn hosts_that_are_not_ours_are_refused() {
        // An address kept for documentation: no machine has it.
        let error = Server::bind(options("192.0.2.1", 0)).expect_err("it is not ours");
        assert!(error.is_input_error() && error.to_string().contains("192.0.2.1"), "{error}");
    }
}
