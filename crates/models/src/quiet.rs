//! Runs third-party parsers that panic on odd files, without a word on stderr.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static>;

/// How many calls of [`catch`] are under way, in all threads.
static ACTIVE: Mutex<usize> = Mutex::new(0);
/// The process's own hook, while ours stands in for it.
static REPLACED: RwLock<Option<Hook>> = RwLock::new(None);

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`. Where it panics, the error is the first line of the panic's message, or `None` where that speaks
/// of the parser's code rather than of the file. Panics of other threads are reported by the process's own hook
/// meanwhile, and the hook is put back when the last call returns.
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, Option<String>> {
    let _hook = HookGuard::new();
    let outer = SILENT.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    SILENT.set(outer);
    result.map_err(|payload| message(&*payload))
}

struct HookGuard;

impl HookGuard {
    fn new() -> Self {
        let mut active = lock();
        if *active == 0 {
            *REPLACED.write().unwrap_or_else(PoisonError::into_inner) = Some(panic::take_hook());
            panic::set_hook(Box::new(|info| {
                if SILENT.try_with(Cell::get).unwrap_or(false) {
                    return;
                }
                if let Some(hook) = &*REPLACED.read().unwrap_or_else(PoisonError::into_inner) {
                    hook(info);
                }
            }));
        }
        *active += 1;
        Self
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let mut active = lock();
        *active -= 1;
        let replaced =
            if *active == 0 { REPLACED.write().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        if let Some(hook) = replaced {
            panic::set_hook(hook);
        }
    }
}

fn lock() -> MutexGuard<'static, usize> {
    ACTIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(payload: &(dyn Any + Send)) -> Option<String> {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().trim();
    let of_code = ["called `", "index out of bounds", "range ", "slice index", "attempt to ", "assertion "];
    let of_file = !line.is_empty() && !of_code.iter().any(|start| line.starts_with(start));
    of_file.then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // That the hook comes back is tested in docqa's tests/panic_hook.rs, in a process of its own.
    #[test]
    fn a_panic_becomes_its_first_line() {
        assert_eq!(catch(|| 5), Ok(5));
        assert_eq!(catch(|| panic!("words")), Err::<(), _>(Some("words".into())));
        assert_eq!(catch(|| panic!("line {}\nand more", 1)), Err::<(), _>(Some("line 1".into())));
        let nested = catch(|| catch(|| panic!("inner")));
        assert_eq!(nested, Ok(Err::<(), _>(Some("inner".to_string()))));
        assert_eq!(catch(|| panic::panic_any(7_u8)), Err::<(), _>(None));
        assert_eq!(catch(|| "none".parse::<u8>().map(drop).unwrap()), Err::<(), _>(None));
    }
}
