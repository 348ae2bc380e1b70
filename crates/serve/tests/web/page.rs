//! The page in Chromium, before a service that computes nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::common::Running;
use kiln_tests::browser::Browser;
use kiln_tests::golden;

const SAMPLE: &str = "assets/sample/convolutional-networks.pdf";
const PICTURE: &str = "assets/sample/still-life.jpg";
/// The key, as WebDriver types it.
const ENTER: &str = "\u{e007}";
/// The page has loaded and knows its server.
const READY: &str = "document.getElementById('machine').textContent !== ''";

fn asset(name: &str) -> String {
    let path: PathBuf = golden::root().join(name);
    path.to_str().expect("the path should be text").to_owned()
}

#[track_caller]
fn no_complaints(browser: &Browser) {
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "the console should be silent: {complaints:?}");
}

/// The page is no wider than the screen.
#[track_caller]
fn fits(browser: &Browser) {
    let wide = browser.run("return document.documentElement.scrollWidth - window.innerWidth");
    assert!(wide.as_i64().is_some_and(|wide| wide <= 0), "the page is {wide} pixels too wide");
}

#[test]
fn a_document_is_brought_asked_about_and_a_picture_classified() {
    let Some(browser) = Browser::open() else { return };
    let server = Running::new();
    browser.go(&server.url);
    browser.wait(READY);
    assert_eq!(browser.text("#machine"), "on a made-up device, a software driver");
    assert_eq!(browser.run("return document.getElementById('question').disabled"), true);
    browser.screenshot("empty");

    browser.type_into("#files", &asset(SAMPLE));
    browser.wait("document.querySelector('.document .name') && !document.querySelector('.pending')");
    assert_eq!(browser.text(".document .name"), "convolutional-networks.pdf");
    assert!(browser.text(".document .facts").starts_with("3 pages, "));

    let question = "Which layer <i>comes</i> first?";
    browser.type_into("#question", &format!("{question}{ENTER}"));
    browser.wait("document.querySelector('.sources')");
    assert_eq!(browser.text(".asked"), question);
    assert_eq!(browser.text(".answer"), format!("This is answer 1 to <b>{question}</b>."));
    assert!(browser.text("#entries").contains("Quoted from the documents in 0.3 s."));
    assert!(browser.text("#entries").contains("Note: two sentences did not fit."));
    assert_eq!(browser.text("summary .place"), "convolutional-networks.pdf, page 2");
    assert_eq!(browser.text("summary .distance"), "distance 0.250");
    browser.click("summary");
    assert!(browser.text(".passage").starts_with("%PDF-"));
    let status = browser.run("return document.getElementById('status').textContent");
    assert_eq!(status, format!("Answer: This is answer 1 to <b>{question}</b>."), "for a screen reader");

    browser.type_into("#question", &format!("Write more{ENTER}"));
    browser.wait("document.querySelectorAll('.sources').length === 2");
    assert!(browser.text("#entries").contains("Written by flan-t5-small"));

    browser.type_into("#files", &asset(PICTURE));
    browser.wait("document.querySelectorAll('.bars li').length === 5");
    assert_eq!(browser.text(".bars .label"), "teapot");
    assert_eq!(browser.text(".bars .share"), "62.0 %");
    assert!(browser.text(".bars li:last-child").contains("< 0.1 %"));
    assert!(browser.run("return document.querySelector('.picture img').naturalWidth").as_u64() > Some(0));
    browser.screenshot("classes");
    no_complaints(&browser);

    for (scheme, width, height) in
        [("light", 1000, 1400), ("dark", 1000, 1400), ("light", 375, 812), ("dark", 375, 812)]
    {
        browser.prefer(scheme);
        browser.resize(width, height);
        browser.run("scrollTo(0, 0)");
        fits(&browser);
        browser.screenshot(&format!("all-{scheme}-{width}"));
    }

    // What was said is there again when the page is loaded anew, until the conversation is.
    browser.run("location.reload()");
    browser.wait("document.querySelectorAll('.sources').length === 2");
    browser.click("#reset");
    browser.wait("document.querySelectorAll('.entry').length === 0");
    assert_eq!(browser.text(".document .name"), "convolutional-networks.pdf");
    browser.type_into("#question", &format!("From the start?{ENTER}"));
    browser.wait("document.querySelector('.sources')");
    assert_eq!(browser.text(".answer"), "This is answer 1 to <b>From the start?</b>.");
    browser.click(".document button");
    browser.wait("document.querySelectorAll('.document').length === 0");
    assert_eq!(browser.run("return document.getElementById('question').disabled"), true);
    no_complaints(&browser);
}

#[test]
fn dropped_files_go_where_they_belong() {
    let Some(browser) = Browser::open() else { return };
    let server = Running::new();
    browser.go(&server.url);
    browser.wait(READY);
    browser.run(
        "const files = new DataTransfer();
         files.items.add(new File(['# Clay\\n\\nClay turns to stone.'], '../notes.md', { type: 'text/markdown' }));
         files.items.add(new File(['Glazes are glass.'], 'glaze.txt', { type: 'text/plain' }));
         files.items.add(new File(['bad'], 'blank.txt', { type: 'text/plain' }));
         files.items.add(new File(['GIF89a and so on'], 'moving.gif', { type: 'image/gif' }));
         const send = (kind) => document.body.dispatchEvent(
             new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
         send('dragenter'); send('dragover');
         window.covered = !document.getElementById('curtain').hidden;
         send('drop');",
    );
    assert_eq!(browser.run("return window.covered"), true);
    browser.wait("!document.querySelector('.pending:not(.failed)')");
    browser.wait("document.querySelectorAll('.document:not(.pending)').length === 2");
    let names = browser.run(
        "return [...document.querySelectorAll('.document .name')].map((name) => name.textContent).sort()",
    );
    assert_eq!(names, serde_json::json!(["blank.txt", "glaze.txt", "notes.md"]));
    assert_eq!(browser.text(".document.failed .remark"), "There is no text in it");
    browser.wait("document.querySelector('.picture.failed')");
    assert!(browser.text(".picture.failed").contains("A picture of a kind that can't be read (GIF)"));
    browser.screenshot("refused");
    browser.click(".document.failed button");
    browser.wait("!document.querySelector('.document.failed')");
}

#[test]
fn a_question_waits_and_is_stopped() {
    let Some(browser) = Browser::open() else { return };
    let server = Running::new();
    browser.go(&server.url);
    browser.wait(READY);
    browser.type_into("#files", &asset("assets/sample/notes.md"));
    browser.wait("document.querySelector('.document:not(.pending)')");
    let other = server.room_with("clay.md", "Clay");
    let mut running = server.ask(&other, "wait");
    running.wait("step");
    browser.type_into("#question", &format!("Why?{ENTER}"));
    browser.wait("document.querySelector('.state')?.textContent === 'Waiting for one other job'");
    browser.screenshot("waiting");
    server.go.store(true, Ordering::SeqCst);
    browser.wait("document.querySelector('.sources')");

    server.go.store(false, Ordering::SeqCst);
    browser.type_into("#question", &format!("wait{ENTER}"));
    browser.wait("document.querySelectorAll('.state')[1]?.textContent === 'Waiting to be let go'");
    browser.click("#stop");
    browser.wait("document.querySelector('.card.failed')");
    server.diary.wait("cancelled wait");
    assert_eq!(browser.text(".card.failed"), "Stopped.");
    // It may be asked again as it stands.
    assert_eq!(browser.run("return document.getElementById('question').value"), "wait");
    no_complaints(&browser);
}

#[test]
fn missing_models_are_told_with_what_brings_them() {
    let Some(browser) = Browser::open() else { return };
    let server = Running::new();
    server.present.store(false, Ordering::SeqCst);
    browser.go(&server.url);
    browser.wait(READY);
    let notices = browser.text("#notices");
    for command in ["all-MiniLM-L6-v2", "flan-t5-small", "vgg16.tv_in1k"] {
        assert!(notices.contains(&format!("kiln models fetch {command}")), "{notices}");
    }
    browser.screenshot("missing");
    browser.type_into("#files", &asset(PICTURE));
    browser.wait("document.querySelector('.picture.failed')");
    let told = browser.text(".picture.failed .made");
    assert_eq!(
        told,
        "Pictures need vgg16.tv_in1k, which is not on this machine; kiln models fetch vgg16.tv_in1k brings it."
    );
    // As soon as they are there, the page knows.
    server.present.store(true, Ordering::SeqCst);
    browser.run("window.dispatchEvent(new Event('focus'))");
    browser.wait("document.getElementById('notices').childElementCount === 0");
    no_complaints(&browser);
}

#[test]
fn everything_is_named_for_those_who_do_not_see_it() {
    let Some(browser) = Browser::open() else { return };
    let server = Running::new();
    browser.go(&server.url);
    browser.wait(READY);
    browser.type_into("#files", &asset(PICTURE));
    browser.type_into("#files", &asset("assets/sample/notes.md"));
    browser.wait("document.querySelector('.document:not(.pending)') && document.querySelector('.bars li')");
    let nameless = browser.run(
        "const named = (element) => (element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent
             ?? element.textContent).trim() !== '';
         return [...document.querySelectorAll('button, input, textarea, progress, summary, section')]
             .filter((element) => !(element.hasAttribute('aria-labelledby') || named(element)))
             .map((element) => element.outerHTML)",
    );
    assert_eq!(nameless, serde_json::json!([]));
    let page = browser.run(
        "return [document.documentElement.lang, document.title, document.querySelectorAll('h1').length]",
    );
    assert_eq!(page, serde_json::json!(["en", "Kiln", 1]));
    // By keyboard alone: the first stops are the link past the rest and the files.
    let order = browser.run(
        "return [...document.querySelectorAll('a, button, input, textarea')]
             .filter((element) => element.tabIndex >= 0 && !element.disabled && element.checkVisibility())
             .map((element) => element.id || element.className)",
    );
    assert_eq!(order[0], "skip");
    assert!(
        order
            .as_array()
            .is_some_and(|order| order.contains(&"files".into()) && order.contains(&"question".into()))
    );
}

/// The harness itself: a page that complains is heard.
#[test]
fn a_page_that_complains_is_heard() {
    let Some(browser) = Browser::open() else { return };
    let server = Running::new();
    browser.go(&server.url);
    browser.wait(READY);
    no_complaints(&browser);
    // The policy forbids it.
    browser.run("document.body.append(Object.assign(document.createElement('img'), { src: 'http://127.0.0.1:9/x.png' }))");
    browser.run("console.error('heard')");
    let complaints = browser.complaints();
    assert!(complaints.iter().any(|line| line.contains("Content Security Policy")), "{complaints:?}");
    assert!(complaints.iter().any(|line| line.contains("heard")), "{complaints:?}");
    assert!(Path::new(&asset(SAMPLE)).is_file());
}
