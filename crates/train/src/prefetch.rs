//! Items made ahead of whoever takes them, on several threads, and handed over in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::TrainError;

/// An iterator over items that threads make. At most `ahead` of them are being made or waiting to be taken, so memory
/// is bounded however slow the taker is. The first error, in the order of the items and not of time, is the last thing
/// it gives; a panic is an error, too. Dropping it waits for the items that are just being made, and for no more.
pub(crate) struct Prefetch<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// There is room for another item, or nothing more is to be made.
    room: Condvar,
    /// An item is there.
    ready: Condvar,
    ahead: usize,
}

struct State<T> {
    /// The next item that a thread takes on.
    next: usize,
    /// The next item that is handed over.
    wanted: usize,
    /// One past the last item; lower than it was once an item has failed.
    end: usize,
    ready: BTreeMap<usize, Result<T, TrainError>>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts to make the items of a range. `make` is called once for each, in any order and from several threads.
    ///
    /// # Errors
    /// Where there is no thread or nothing may be made ahead, or the system refuses a thread.
    pub(crate) fn start(
        items: Range<usize>,
        threads: usize,
        ahead: usize,
        make: impl Fn(usize) -> Result<T, TrainError> + Send + Sync + 'static,
    ) -> Result<Prefetch<T>, TrainError> {
        for (option, value) in [("threads", threads), ("batches ahead", ahead)] {
            if value == 0 {
                return Err(TrainError::option(option, value, "expected at least 1"));
            }
        }
        let state = State {
            next: items.start,
            wanted: items.start,
            end: items.end.max(items.start),
            ready: BTreeMap::new(),
        };
        let shared = Shared { state: Mutex::new(state), room: Condvar::new(), ready: Condvar::new(), ahead };
        let mut prefetch = Prefetch { shared: Arc::new(shared), threads: Vec::new() };
        let make = Arc::new(make);
        for number in 0..threads.min(ahead).min(items.len()) {
            let (shared, make) = (Arc::clone(&prefetch.shared), Arc::clone(&make));
            let thread = thread::Builder::new().name(format!("kiln-prefetch-{number}"));
            let thread = thread.spawn(move || work(&shared, &*make));
            prefetch.threads.push(thread.map_err(|source| TrainError::Thread { source })?);
        }
        Ok(prefetch)
    }
}

/// What each thread does.
fn work<T>(shared: &Shared<T>, make: &impl Fn(usize) -> Result<T, TrainError>) {
    while let Some(item) = take_on(shared) {
        let made = catch_unwind(AssertUnwindSafe(|| make(item)));
        let made = made.unwrap_or_else(|payload| {
            Err(TrainError::Panicked { item, message: message(&*payload).to_owned() })
        });
        let mut state = shared.lock();
        if made.is_err() {
            state.end = state.end.min(item + 1);
            shared.room.notify_all();
        }
        state.ready.insert(item, made);
        shared.ready.notify_one();
    }
}

/// Waits for room and takes the next item on; `None` where there is none.
fn take_on<T>(shared: &Shared<T>) -> Option<usize> {
    let mut state = shared.lock();
    loop {
        if state.next >= state.end {
            return None;
        }
        if state.next - state.wanted < shared.ahead {
            state.next += 1;
            return Some(state.next - 1);
        }
        state = shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut state = self.shared.lock();
        loop {
            // Every item before the end has been taken on, or will be, and no thread ends without handing in its own.
            if state.wanted >= state.end {
                return None;
            }
            let wanted = state.wanted;
            if let Some(item) = state.ready.remove(&wanted) {
                state.wanted += 1;
                self.shared.room.notify_one();
                return Some(item);
            }
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.shared.lock().end = 0;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already, as an error.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn fault(item: usize) -> TrainError {
        TrainError::option("item", item, "expected another")
    }

    fn messages(prefetch: Prefetch<usize>) -> Vec<Result<usize, String>> {
        prefetch.map(|item| item.map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn items_come_in_order_whatever_order_they_are_made_in() {
        for (threads, ahead) in [(1, 1), (1, 5), (3, 1), (3, 4), (4, 100)] {
            let made = Prefetch::start(2..40, threads, ahead, |item| {
                thread::sleep(Duration::from_micros((item * 7919 % 13) as u64 * 50));
                Ok(item * 10)
            });
            let made: Vec<usize> = made.unwrap().map(Result::unwrap).collect();
            assert!(made.into_iter().eq((2..40).map(|item| item * 10)), "{threads} threads, {ahead} ahead");
        }
    }

    #[test]
    fn no_more_than_allowed_is_made_ahead() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let mut prefetch = Prefetch::start(0..1000, 3, 5, move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        for taken in 0..20 {
            thread::sleep(Duration::from_millis(2));
            assert!(made.load(Ordering::SeqCst) <= taken + 5);
            prefetch.next().unwrap().unwrap();
        }
        drop(prefetch);
        assert!(made.load(Ordering::SeqCst) <= 25);
    }

    #[test]
    fn an_error_comes_at_its_place_and_last() {
        // Both are being made when either is found.
        for seventh in [0, 40] {
            let prefetch = Prefetch::start(0..100, 4, 8, move |item| {
                let delay = if item == 5 { 20 } else { seventh * u64::from(item == 7) };
                thread::sleep(Duration::from_millis(delay));
                if item == 5 || item == 7 { Err(fault(item)) } else { Ok(item) }
            });
            thread::sleep(Duration::from_millis(80));
            let mut expected: Vec<_> = (0..5).map(Ok).collect();
            expected.push(Err("item 5: expected another".to_owned()));
            assert_eq!(messages(prefetch.unwrap()), expected, "item 7 takes {seventh} ms");
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let prefetch = Prefetch::start(0..9, 2, 3, |item| {
            assert!(item != 1, "words");
            Ok(item)
        });
        let expected = [Ok(0), Err("loader: making item 1 panicked: words".to_owned())];
        assert_eq!(messages(prefetch.unwrap()), expected);
    }

    #[test]
    fn dropping_ends_all_threads() {
        struct Alive(Arc<AtomicUsize>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let alive = Arc::new(AtomicUsize::new(0));
        for taken in [0, 1, 7] {
            let count = Arc::clone(&alive);
            let mut prefetch = Prefetch::start(0..usize::MAX, 3, 4, move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(Alive(Arc::clone(&count)))
            })
            .unwrap();
            for _ in 0..taken {
                prefetch.next().unwrap().unwrap();
            }
            drop(prefetch);
            assert_eq!(alive.load(Ordering::SeqCst), 0, "all items should be gone with the threads");
            assert_eq!(Arc::strong_count(&alive), 1);
        }
    }

    #[test]
    fn nothing_to_make_is_the_end() {
        let mut prefetch = Prefetch::start(3..3, 2, 2, Ok).unwrap();
        assert!(prefetch.next().is_none());
        assert!(prefetch.next().is_none());
    }

    #[test]
    fn no_threads_are_refused() {
        let refused = |threads, ahead| Prefetch::start(0..3, threads, ahead, Ok).err().unwrap().to_string();
        assert_eq!(refused(0, 2), "threads 0: expected at least 1");
        assert_eq!(refused(2, 0), "batches ahead 0: expected at least 1");
    }
}
