//! A hub of a few lines on a local port, which answers as a test tells it to.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Whether only the head of the answer is asked for.
    pub(super) head: bool,
    pub(super) path: String,
    /// The first byte asked for.
    pub(super) from: Option<usize>,
    pub(super) authorization: Option<String>,
}

/// What the server does about it.
pub(super) struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    cut: usize,
}

impl Answer {
    pub(super) fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new(), cut: usize::MAX }
    }

    /// The whole file, or what a range request asks for.
    pub(super) fn file(content: &[u8], request: &Request) -> Answer {
        match request.from {
            None => Answer { body: content.to_vec(), ..Answer::status(200) },
            Some(from) if from >= content.len() => Answer::status(416),
            Some(from) => {
                let range = format!("Content-Range: bytes {from}-{}/{}", content.len() - 1, content.len());
                Answer { body: content[from..].to_vec(), ..Answer::status(206) }.header(&range)
            }
        }
    }

    pub(super) fn redirect(to: &str) -> Answer {
        Answer::status(302).header(&format!("Location: {to}"))
    }

    pub(super) fn header(mut self, line: &str) -> Answer {
        self.headers.push(line.to_owned());
        self
    }

    /// Sends only the first bytes of what is announced.
    pub(super) fn cut(mut self, bytes: usize) -> Answer {
        self.cut = bytes;
        self
    }
}

/// A running server; its thread ends with the test process.
pub(super) struct Server {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// `answer` gets each request and the number of those before it.
    pub(super) fn start(mut answer: impl FnMut(&Request, usize) -> Answer + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a local port should be free");
        let url = format!("http://{}", listener.local_addr().expect("a listener should have an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                let count = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(request.clone());
                    seen.len() - 1
                };
                // A client that goes away is no concern of the server's.
                let answer = answer(&request, count);
                let _ = write(&stream, if request.head { answer.cut(0) } else { answer });
            }
        });
        Server { url, requests }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let head = words.next()? == "HEAD";
    let mut request = Request { head, path: words.next()?.to_owned(), from: None, authorization: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match name.to_lowercase().as_str() {
            "range" => request.from = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok(),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(request)
}

fn write(mut stream: &TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {} -\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for header in &answer.headers {
        head.push_str(&format!("{header}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&answer.body[..answer.cut.min(answer.body.len())])?;
    stream.flush()
}
