//! The server over a socket, as browsers and others meet it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, Running};
use kiln_serve::Options;
use serde_json::{Value, json};

const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0 and so on, long enough";

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["event"].as_str()).collect()
}

/// Sends bytes as they are, and returns what comes back until the server closes or the text is there.
fn raw(server: &Running, request: &[u8], until: &str) -> String {
    let mut stream = TcpStream::connect(server.address).expect("the server should be there");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream.write_all(request).expect("the request should be sent");
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        answer.extend_from_slice(&bytes[..read]);
        if String::from_utf8_lossy(&answer).contains(until) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_page_and_its_files_are_there() {
    let server = Running::new();
    for (path, kind) in [("/", "text/html"), ("/style.css", "text/css"), ("/app.js", "text/javascript")] {
        let mut response = server.request("GET", path, &[], b"");
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().expect("it is text").to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert!(
            header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"),
            "{path}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        assert!(response.body_mut().read_to_string().is_ok_and(|text| text.len() > 500), "{path}");
    }
    let (status, about) = server.json("GET", "/api/about", b"");
    assert_eq!((status, &about["adapter"]), (200, &json!("a made-up device")));
    assert_eq!(about["models"][1]["fetch"], "kiln models fetch flan-t5-small");
    let (status, refusal) = server.json("GET", "/no/such/thing", b"");
    assert_eq!((status, refusal), (404, json!({ "error": "there is nothing here" })));
    assert_eq!(server.json("DELETE", "/api/rooms", b"").0, 405);
}

#[test]
fn a_document_is_asked_about() {
    let server = Running::new();
    let room = server.room();
    let events = server.all(&format!("{room}/documents?name=clay.md"), b"Clay turns to stone.");
    assert_eq!(kinds(&events), ["started", "progress", "documents"]);
    let document = &events[2]["documents"][0];
    assert_eq!(document["name"], "clay.md");
    assert_eq!((&document["pages"], &document["passages"]), (&Value::Null, &json!(20)));

    let events: Vec<Value> = server.ask(&room, " What does clay do? ").collect();
    let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(text, "This is answer 1 to <b>What does clay do?</b>.");
    let turn = &events.last().expect("there are events")["turn"];
    assert_eq!((&turn["answer"], &turn["question"]), (&json!(text), &json!("What does clay do?")));
    assert_eq!(turn["sources"][0]["text"], "Clay turns to stone.");
    assert_eq!(turn["sources"][0]["distance"], 0.25);

    // The room remembers, for a page that is loaded again, until it is reset.
    server.ask(&room, "And then?").wait("answer");
    let (_, state) = server.json("GET", &room, b"");
    assert_eq!(state["turns"].as_array().map(Vec::len), Some(2));
    assert_eq!(state["turns"][1]["answer"], "This is answer 2 to <b>And then?</b>.");
    let (_, state) = server.json("DELETE", &format!("{room}/turns"), b"");
    assert_eq!((state["documents"].as_array().map(Vec::len), &state["turns"]), (Some(1), &json!([])));
    let turn = server.ask(&room, "Again?").wait("answer");
    assert_eq!(turn["turn"]["answer"], "This is answer 1 to <b>Again?</b>.");
}

#[test]
fn rooms_keep_apart_and_documents_go() {
    let server = Running::new();
    let first = server.room_with("clay.md", "Clay");
    let second = server.room_with("glaze.md", "Glaze");
    let sources = |room: &str| {
        let turn = server.ask(room, "What?").wait("answer")["turn"].take();
        let rows = turn["sources"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["document"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((sources(&first), sources(&second)), (vec!["clay.md".into()], vec!["glaze.md".to_owned()]));
    server.all(&format!("{first}/documents?name=clay.md"), b"Other clay");
    assert_eq!(sources(&first), ["clay.md", "clay (2).md"]);

    let (_, state) = server.json("GET", &first, b"");
    let id = &state["documents"][0]["id"];
    let mut response = server.request("DELETE", &format!("{first}/documents/{id}"), &[], b"");
    let text = response.body_mut().read_to_string().expect("events are text");
    assert!(text.contains("clay (2).md") && !text.contains("\"clay.md\""), "{text}");
    assert_eq!(sources(&first), ["clay (2).md"]);
    let files: Vec<bool> = server
        .diary
        .lines()
        .iter()
        .filter_map(|line| Some(Path::new(line.strip_prefix("at ")?).exists()))
        .collect();
    assert!(!files[0] && files.iter().any(|there| *there), "what is removed leaves the disk: {files:?}");
}

#[test]
fn rooms_that_make_way_are_forgotten() {
    let server = Running::new();
    let room = server.room_with("clay.md", "Clay");
    for _ in 0..32 {
        server.room();
    }
    assert_eq!(server.json("GET", &room, b"").0, 404);
    server.all("/api/pictures?name=pot.jpg", JPEG);
    assert!(server.diary.lines().contains(&"forgot clay.md".to_owned()));
}

#[test]
fn what_is_unsound_is_refused() {
    let server = Running::new();
    let room = server.room();
    let question = |text: &str| json!({ "question": text }).to_string();
    for (path, body, status, message) in [
        (format!("{room}/questions"), question("Why?"), 409, "no document"),
        (format!("{room}/questions"), question(" \n"), 422, "the question is empty"),
        (format!("{room}/questions"), question(&"x".repeat(4001)), 422, "4001 characters; at most 4000"),
        (format!("{room}/questions"), "{".into(), 400, "expected JSON"),
        (format!("{room}/documents?name=a.txt"), String::new(), 422, "a.txt: the file is empty"),
        (
            format!("/api/rooms/{}/questions", "0".repeat(32)),
            question("Why?"),
            404,
            "this conversation is gone",
        ),
        ("/api/rooms/../questions".into(), question("Why?"), 404, ""),
        // What the router refuses by itself comes in the same form.
        (format!("{room}/questions"), "x".repeat(100_000), 413, "refused: Payload Too Large"),
        ("/api/pictures?name=a&name=b".into(), "x".into(), 400, "refused: Bad Request"),
        ("/api/rooms/%FF/questions".into(), question("Why?"), 400, "refused: Bad Request"),
    ] {
        let (got, refusal) = server.json("POST", &path, body.as_bytes());
        let text = refusal["error"].as_str().unwrap_or_default();
        assert!(got == status && text.contains(message), "{path}: {got}: {text}");
    }
}

#[test]
fn what_fails_says_so_and_the_next_job_goes_on() {
    let server = Running::new();
    let room = server.room();
    let events = server.all(&format!("{room}/documents?name=blank.txt"), b"bad");
    let expected =
        json!({ "event": "failed", "message": "blank.txt: there is no text in it", "input": true });
    assert_eq!(events.last(), Some(&expected));
    let (_, state) = server.json("GET", &room, b"");
    assert_eq!(state["documents"], json!([]));

    let room = server.room_with("clay.md", "Clay");
    let failed = server.ask(&room, "fail").wait("failed");
    assert_eq!((&failed["message"], &failed["input"]), (&json!("the device is gone"), &json!(false)));
    // A fault inside costs what the service had in mind, not the documents.
    assert_eq!(
        server.ask(&room, "Why?").wait("answer")["turn"]["answer"],
        "This is answer 1 to <b>Why?</b>."
    );
    let failed = server.ask(&room, "panic").wait("failed");
    assert!(failed["message"].as_str().is_some_and(|text| text.starts_with("something went wrong inside")));
    let turn = server.ask(&room, "Why?").wait("answer");
    assert_eq!(turn["turn"]["answer"], "This is answer 1 to <b>Why?</b>.");
    assert_eq!(turn["turn"]["sources"][0]["text"], "Clay");
    let (_, state) = server.json("GET", &room, b"");
    assert_eq!(state["turns"].as_array().map(Vec::len), Some(2));
}

#[test]
fn pictures_are_classified_and_kinds_told_apart() {
    let server = Running::new();
    let events = server.all("/api/pictures?name=C%3A%5Cfakepath%5Cpot.jpg", JPEG);
    assert_eq!(kinds(&events), ["started", "step", "classes"]);
    let classes = events[2]["classes"]["classes"].as_array().expect("classes are a list");
    assert_eq!(classes.len(), 5);
    assert_eq!(classes[0], json!({ "label": "teapot", "probability": 0.62 }));
    assert!(server.diary.lines().contains(&"classify pot.jpg".to_owned()));

    let room = server.room();
    let (status, refusal) = server.json("POST", &format!("{room}/documents?name=pot.pdf"), JPEG);
    let message = "pot.pdf: a picture (JPEG); expected a PDF, text or Markdown file to ask questions about";
    assert_eq!((status, refusal["error"].as_str()), (415, Some(message)));
    let (status, refusal) = server.json("POST", "/api/pictures?name=clay.jpg", b"%PDF-1.7 and so on");
    let message = "clay.jpg: a PDF file; expected a picture: JPEG, PNG or WebP";
    assert_eq!((status, refusal["error"].as_str()), (415, Some(message)));
    assert_eq!(server.json("POST", "/api/pictures?name=a.gif", b"GIF89a and so on").0, 415);
    assert_eq!(kinds(&server.all("/api/pictures?name=cut.jpg", &JPEG[..14])), ["started", "step", "failed"]);
}

#[test]
fn names_are_shown_and_lead_nowhere() {
    let server = Running::new();
    let room = server.room();
    for (name, shown) in [
        ("..%2F..%2Fetc%2Fpasswd.txt", "passwd.txt"),
        ("..", "unnamed"),
        ("%00%0Aa%E2%80%AEb.txt", "ab.txt"),
        ("%3Cimg%20src=x%20onerror=alert(1)%3E.txt", "<img src=x onerror=alert(1)>.txt"),
        ("%FF.txt", "\u{fffd}.txt"),
    ] {
        let events = server.all(&format!("{room}/documents?name={name}"), b"Clay");
        let documents = events.last().map(|event| event["documents"].clone()).unwrap_or_default();
        let last = documents.as_array().and_then(|documents| documents.last()).cloned().unwrap_or_default();
        assert_eq!(last["name"], shown, "{name}");
    }
}

#[test]
fn too_large_uploads_are_refused_early() {
    let server = Running::with(Options { port: 0, max_upload: 100_000, ..Options::default() });
    let room = server.room();
    // A gigabyte is announced; the server answers before a byte of it has come.
    let begun = Instant::now();
    let head = format!(
        "POST {room}/documents?name=big.pdf HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n"
    );
    let answer = raw(&server, head.as_bytes(), "taken");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("big.pdf: too large with 1073.7 MB; at most 0.1 MB are taken"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5));

    // One that announces nothing is stopped on its way.
    let head = format!(
        "POST {room}/documents?name=big.txt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut stream = TcpStream::connect(server.address).expect("the server should be there");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream.write_all(head.as_bytes()).expect("the request should be sent");
    let piece = [format!("{:x}\r\n", 50_000).as_bytes(), &[b'x'; 50_000], b"\r\n"].concat();
    let sent = (0..20_000).take_while(|_| stream.write_all(&piece).is_ok()).count();
    assert!(sent < 1000, "a gigabyte should not be taken in: {sent} pieces were");

    // Nothing is left of either, and the room is as it was.
    let (_, state) = server.json("GET", &room, b"");
    assert_eq!(state["documents"], json!([]));
    assert_eq!(
        kinds(&server.all(&format!("{room}/documents?name=a.txt"), &[b'x'; 100_000])).last(),
        Some(&"documents")
    );
    assert!(server.diary.lines().iter().all(|line| !line.contains("big")));
}

#[test]
fn other_hosts_and_sites_are_refused() {
    let server = Running::with(Options { port: 0, names: vec!["clay.example".into()], ..Options::default() });
    let status =
        |headers: &[(&str, &str)]| server.request("GET", "/api/about", headers, b"").status().as_u16();
    assert_eq!(status(&[]), 200);
    assert_eq!(status(&[("Host", "clay.example")]), 200);
    assert_eq!(status(&[("Host", "localhost:9")]), 200);
    assert_eq!(status(&[("Host", "evil.example")]), 403);
    let port = server.address.port();
    let own = format!("http://127.0.0.1:{port}");
    assert_eq!(status(&[("Origin", &own)]), 200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(status(&[("Origin", origin)]), 403, "{origin}");
    }
    assert_eq!(status(&[("Sec-Fetch-Site", "cross-site")]), 403);
    // The page itself may be linked to, but not under a foreign name.
    assert_eq!(server.request("GET", "/", &[("Sec-Fetch-Site", "cross-site")], b"").status(), 200);
    assert_eq!(server.request("GET", "/", &[("Host", "evil.example")], b"").status(), 403);
    let answer = raw(&server, b"GET / HTTP/1.0\r\n\r\n", "error");
    assert!(answer.starts_with("HTTP/1.0 400"), "{answer}");
    // What another site's form would send is turned away before it does anything.
    let before = server.diary.lines();
    let refused = server.request("POST", "/api/pictures", &[("Origin", "http://evil.example")], JPEG);
    assert_eq!((refused.status().as_u16(), before), (403, server.diary.lines()));
}

#[test]
fn jobs_run_one_by_one_and_know_their_place() {
    let server = Running::new();
    let room = server.room_with("clay.md", "Clay");
    let mut running = server.ask(&room, "wait");
    running.wait("step");
    let mut second = server.ask(&room, "two");
    assert_eq!(second.wait("queued")["ahead"], 1);
    let mut third = server.ask(&room, "three");
    assert_eq!(third.wait("queued")["ahead"], 2);
    assert!(!server.diary.lines().contains(&"ask two".to_owned()));
    // Who goes away makes room.
    drop(second);
    assert_eq!(third.wait("queued")["ahead"], 1);
    server.go.store(true, Ordering::SeqCst);
    running.wait("answer");
    assert_eq!(third.wait("answer")["turn"]["answer"], "This is answer 2 to <b>three</b>.");
    assert!(!server.diary.lines().contains(&"ask two".to_owned()));
}

#[test]
fn the_queue_is_bounded() {
    let server = Running::new();
    let room = server.room_with("clay.md", "Clay");
    let mut running = server.ask(&room, "wait");
    running.wait("step");
    let waiting: Vec<_> = (0..16)
        .map(|at| {
            let mut events = server.ask(&room, "Why?");
            assert_eq!(events.wait("queued")["ahead"], at + 1);
            events
        })
        .collect();
    let response = server.request("POST", "/api/pictures?name=pot.jpg", &[], JPEG);
    assert_eq!((response.status().as_u16(), response.headers().contains_key("retry-after")), (503, true));
    assert_eq!(server.json("POST", &format!("{room}/questions"), br#"{"question": "Why?"}"#).0, 503);
    server.go.store(true, Ordering::SeqCst);
    for mut events in waiting {
        events.wait("answer");
    }
}

#[test]
fn a_job_ends_when_its_client_goes_away() {
    let server = Running::new();
    let room = server.room_with("clay.md", "Clay");
    let mut running = server.ask(&room, "wait");
    running.wait("step");
    drop(running);
    server.diary.wait("cancelled wait");
    let turn = server.ask(&room, "next").wait("answer");
    assert_eq!(turn["turn"]["answer"], "This is answer 1 to <b>next</b>.");
    let (_, state) = server.json("GET", &room, b"");
    assert_eq!(state["turns"].as_array().map(Vec::len), Some(1));
}

#[test]
fn stopping_ends_what_runs_and_what_waits() {
    let mut server = Running::new();
    let room = server.room_with("clay.md", "Clay");
    let mut running = server.ask(&room, "wait");
    running.wait("step");
    let mut waiting = server.ask(&room, "Why?");
    waiting.wait("queued");
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
    assert_eq!(waiting.wait("failed")["message"], "the server is stopping");
    assert!(running.all(|event| event["event"] == "failed"));
    server.diary.wait("cancelled wait");
    assert!(TcpStream::connect(server.address).is_err(), "nobody should listen any more");
}
