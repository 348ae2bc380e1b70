//! The panics of the PDF parser are silent, other panics are not, and the process's own panic hook
//! comes back. Alone in its file because the hook belongs to the whole process.

use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

static HEARD: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_panics_of_the_parser_alone_are_silent() {
    let file: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/goldens/pdf/broken_page3.pdf");
    panic::set_hook(Box::new(|_| {
        HEARD.fetch_add(1, Ordering::SeqCst);
    }));
    let load = || {
        let loaded = kiln_docqa::load::load(std::slice::from_ref(&file)).unwrap();
        assert_eq!(loaded.documents[0].skipped.len(), 1);
    };

    load();
    assert_eq!(HEARD.load(Ordering::SeqCst), 0);

    // In many threads at once, while others panic for reasons of their own.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|_| load()));
        }
        for _ in 0..20 {
            assert!(scope.spawn(|| panic!("to be heard")).join().is_err());
        }
    });
    assert_eq!(HEARD.load(Ordering::SeqCst), 20);

    assert!(panic::catch_unwind(|| panic!("to be heard")).is_err());
    assert_eq!(HEARD.load(Ordering::SeqCst), 21);
    drop(panic::take_hook());
}
