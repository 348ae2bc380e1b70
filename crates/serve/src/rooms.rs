//! The conversations that are open, as the HTTP side knows them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tempfile::TempDir;

use crate::event::{Document, Turn};
use crate::service::Upload;

/// So many are kept; a new one pushes out the one that was used least recently.
pub(crate) const MOST_ROOMS: usize = 32;

/// All rooms.
#[derive(Debug)]
pub(crate) struct Rooms {
    folder: PathBuf,
    rooms: Mutex<HashMap<RoomId, Arc<Room>>>,
}

/// Names a room. Nobody guesses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RoomId([u8; 16]);

/// A conversation with its documents.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    /// Its uploads. It goes with the room.
    folder: TempDir,
    files: AtomicU64,
    state: Mutex<RoomState>,
}

#[derive(Debug)]
pub(crate) struct RoomState {
    /// What the page shows of `uploads`, in the same order.
    pub(crate) documents: Vec<Document>,
    pub(crate) uploads: Vec<Upload>,
    /// How often they have changed.
    pub(crate) revision: u64,
    pub(crate) turns: Vec<Turn>,
    /// How often the conversation was begun anew.
    pub(crate) epoch: u64,
    used: Instant,
}

impl RoomId {
    fn new() -> io::Result<RoomId> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(RoomId(bytes))
    }

    /// What [`Display`](std::fmt::Display) writes.
    pub(crate) fn parse(text: &str) -> Option<RoomId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Some(RoomId(u128::from_str_radix(text, 16).ok()?.to_be_bytes()))
    }
}

impl std::fmt::Display for RoomId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Rooms {
    /// Rooms keep their uploads below `folder`.
    pub(crate) fn new(folder: &Path) -> Rooms {
        Rooms { folder: folder.to_owned(), rooms: Mutex::default() }
    }

    pub(crate) fn open(&self) -> io::Result<RoomId> {
        let id = RoomId::new()?;
        let folder = tempfile::Builder::new().prefix("room-").tempdir_in(&self.folder)?;
        let state = RoomState {
            documents: Vec::new(),
            uploads: Vec::new(),
            revision: 0,
            turns: Vec::new(),
            epoch: 0,
            used: Instant::now(),
        };
        let room = Room { id, folder, files: AtomicU64::new(0), state: Mutex::new(state) };
        let mut rooms = self.lock();
        while rooms.len() >= MOST_ROOMS
            && let Some(idlest) = rooms.values().min_by_key(|room| room.lock().used).map(|room| room.id)
        {
            rooms.remove(&idlest);
        }
        rooms.insert(id, Arc::new(room));
        Ok(id)
    }

    pub(crate) fn get(&self, id: RoomId) -> Option<Arc<Room>> {
        let room = self.lock().get(&id).cloned()?;
        room.lock().used = Instant::now();
        Some(room)
    }

    pub(crate) fn has(&self, id: RoomId) -> bool {
        self.lock().contains_key(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    pub(crate) fn lock(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path for the next upload.
    pub(crate) fn next_file(&self) -> PathBuf {
        self.folder.path().join(format!("{:06}", self.next_number()))
    }

    /// A number that no document of the room had.
    pub(crate) fn next_number(&self) -> u64 {
        self.files.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_room_makes_way() {
        let folder = tempfile::tempdir().expect("a folder should be made");
        let rooms = Rooms::new(folder.path());
        let ids: Vec<RoomId> = (0..MOST_ROOMS).map(|_| rooms.open().expect("a room should open")).collect();
        let first = rooms.get(ids[0]).expect("it should be there");
        std::fs::write(first.next_file(), "kept").expect("there should be room");
        let one_more = rooms.open().expect("a room should open");
        assert!(rooms.has(ids[0]) && !rooms.has(ids[1]) && rooms.has(one_more));
        assert_eq!(std::fs::read_dir(folder.path()).expect("it should be readable").count(), MOST_ROOMS);
    }

    #[test]
    fn names_come_back() {
        let id = RoomId::new().expect("there should be random numbers");
        assert_eq!(RoomId::parse(&id.to_string()), Some(id));
        assert_ne!(RoomId::new().expect("there should be random numbers"), id);
        for wrong in ["", "0", &"g".repeat(32), &"+".repeat(32), &"0".repeat(33)] {
            assert_eq!(RoomId::parse(wrong), None, "{wrong}");
        }
    }
}
