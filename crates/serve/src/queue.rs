//! The jobs that wait for their turn.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use crate::event::Event;

/// A queue of bounded length. Who waits is told their place whenever it changes.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    limit: usize,
}

/// A task with the line to whoever asked for it.
#[derive(Debug)]
pub(crate) struct Ticket<T> {
    pub(crate) id: u64,
    pub(crate) task: T,
    pub(crate) events: UnboundedSender<Event>,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<Ticket<T>>,
    /// A job runs.
    running: bool,
    /// No job is to run any more.
    closed: bool,
    next: u64,
}

/// As many wait already as may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

impl<T> Queue<T> {
    /// `limit` jobs may wait, the running one not counted.
    pub(crate) fn new(limit: usize) -> Queue<T> {
        let state = State { waiting: VecDeque::new(), running: false, closed: false, next: 0 };
        Queue { state: Mutex::new(state), changed: Condvar::new(), limit }
    }

    /// Whether a job would be taken just now. Worth asking before an upload is read.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        self.lock().check(self.limit)
    }

    /// Puts a task at the end and tells its place. Returns its number.
    pub(crate) fn push(&self, task: T, events: UnboundedSender<Event>) -> Result<u64, Refused> {
        let mut state = self.lock();
        state.check(self.limit)?;
        let id = state.next;
        state.next += 1;
        let ahead = state.waiting.len() + usize::from(state.running);
        if ahead > 0 {
            let _ = events.send(Event::Queued { ahead });
        }
        state.waiting.push_back(Ticket { id, task, events });
        self.changed.notify_one();
        Ok(id)
    }

    /// Waits for the next job, which from now on is the running one; `None` when the queue is closed. The job that it gave
    /// out before is over.
    pub(crate) fn next(&self) -> Option<Ticket<T>> {
        let mut state = self.lock();
        state.running = false;
        loop {
            if state.closed {
                return None;
            }
            if let Some(ticket) = state.waiting.pop_front() {
                // One whose asker has gone, and who could not say so in time.
                if ticket.events.is_closed() {
                    continue;
                }
                state.running = true;
                state.tell_places(0);
                return Some(ticket);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes back a job that still waits.
    pub(crate) fn withdraw(&self, id: u64) {
        let mut state = self.lock();
        if let Some(at) = state.waiting.iter().position(|ticket| ticket.id == id) {
            state.waiting.remove(at);
            state.tell_places(at);
        }
    }

    /// Ends the queue: who waits is told, and [`next`](Self::next) returns `None`.
    pub(crate) fn close(&self, last: &Event) {
        let mut state = self.lock();
        state.closed = true;
        for ticket in state.waiting.drain(..) {
            let _ = ticket.events.send(last.clone());
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn check(&self, limit: usize) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.waiting.len() >= limit { Err(Refused::Full) } else { Ok(()) }
    }

    /// Tells their places to those who wait, from one of them on.
    fn tell_places(&self, from: usize) {
        for (at, ticket) in self.waiting.iter().enumerate().skip(from) {
            let _ = ticket.events.send(Event::Queued { ahead: at + usize::from(self.running) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn push(queue: &Queue<char>, task: char) -> (u64, UnboundedReceiver<Event>) {
        let (events, receiver) = unbounded_channel();
        (queue.push(task, events).expect("there should be room"), receiver)
    }

    fn places(receiver: &mut UnboundedReceiver<Event>) -> Vec<usize> {
        let mut places = Vec::new();
        while let Ok(Event::Queued { ahead }) = receiver.try_recv() {
            places.push(ahead);
        }
        places
    }

    #[test]
    fn places_are_told_as_they_change() {
        let queue = Queue::new(3);
        let (_, mut a) = push(&queue, 'a');
        assert_eq!(queue.next().expect("a job waits").task, 'a');
        let (b_id, mut b) = push(&queue, 'b');
        let (_, mut c) = push(&queue, 'c');
        let (_, mut d) = push(&queue, 'd');
        let (events, _receiver) = unbounded_channel();
        assert_eq!(queue.push('e', events), Err(Refused::Full));
        assert_eq!((places(&mut a), places(&mut b), places(&mut c)), (vec![], vec![1], vec![2]));
        queue.withdraw(b_id);
        assert_eq!((places(&mut c), places(&mut d)), (vec![1], vec![3, 2]));
        assert_eq!(queue.next().expect("a job waits").task, 'c');
        assert_eq!(places(&mut d), [1]);
        assert!(places(&mut b).is_empty());
    }

    #[test]
    fn a_job_that_nobody_waits_for_is_passed_over() {
        let queue = Queue::new(3);
        let (_, gone) = push(&queue, 'a');
        let (_, _b) = push(&queue, 'b');
        drop(gone);
        assert_eq!(queue.next().expect("a job waits").task, 'b');
    }

    #[test]
    fn a_closed_queue_tells_and_takes_nothing() {
        let queue = Queue::new(3);
        let (_, mut a) = push(&queue, 'a');
        queue.close(&Event::Started);
        assert_eq!(a.try_recv(), Ok(Event::Started));
        assert!(queue.next().is_none());
        assert_eq!(queue.check(), Err(Refused::Closed));
    }
}
