//! Keeping drivers and panics off the user's terminal.

use std::cell::Cell;
use std::panic::{self, UnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INSTANCE_MADE: AtomicBool = AtomicBool::new(false);

/// Notes that a driver has been loaded and has read the environment.
pub(crate) fn instance_is_made() {
    INSTANCE_MADE.store(true, Ordering::Release);
}

/// Stops Mesa's device-select layer from writing `error: XDG_RUNTIME_DIR ...` to the terminal on
/// machines without a display, by setting `NODEVICE_SELECT=1` for this process.
///
/// Call it first thing in `main`. It does nothing, and returns `false`, where it would come too late
/// or be unsafe or unwanted: once a device has been opened or listed, once the process has a second
/// thread, where `NODEVICE_SELECT` or `MESA_VK_DEVICE_SELECT` is set already, and on systems other
/// than Linux. Library users who need their environment untouched simply do not call it.
pub fn quiet_driver() -> bool {
    let wanted =
        std::env::var_os("NODEVICE_SELECT").is_none() && std::env::var_os("MESA_VK_DEVICE_SELECT").is_none();
    if !wanted || INSTANCE_MADE.load(Ordering::Acquire) || !is_single_threaded() {
        return false;
    }
    // SAFETY: `set_var` is unsound only while another thread may read the environment. The kernel's
    // list of this process's threads has just shown this one alone, and none can start in between,
    // since only this thread could start it.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("NODEVICE_SELECT", "1");
    }
    true
}

/// Whether this thread is the only one, as far as the kernel tells; `false` where it does not.
fn is_single_threaded() -> bool {
    cfg!(target_os = "linux") && std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`, which enters wgpu where it panics on a lost device, and gives `None` for a panic.
/// Nothing of it reaches the terminal.
pub(crate) fn without_panic<R>(call: impl FnOnce() -> R + UnwindSafe) -> Option<R> {
    static HOOK: Once = Once::new();
    // The hook stays for the life of the process and passes every other panic on unchanged.
    if !std::thread::panicking() {
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if !SILENT.try_with(Cell::get).unwrap_or(false) {
                    previous(info);
                }
            }));
        });
    }
    let before = SILENT.replace(true);
    let result = panic::catch_unwind(call);
    SILENT.set(before);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_none() {
        assert_eq!(without_panic(|| 3), Some(3));
        assert_eq!(without_panic(|| -> i32 { panic!("this line must not be printed") }), None);
        assert!(!SILENT.get());
    }

    #[test]
    fn the_environment_is_left_alone_beside_other_threads() {
        // The test harness itself runs several threads.
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || receiver.recv().is_err());
        assert!(!quiet_driver());
        drop(sender);
        assert!(other.join().expect("the thread should end"));
    }
}
