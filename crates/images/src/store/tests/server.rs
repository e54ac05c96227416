//! A web server on loopback whose faults a test chooses.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as the server saw it: its path, and its headers in lower case.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) path: String,
    headers: Vec<String>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The first byte asked for.
    pub(super) fn range(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// What the server does with a request, and how often it was asked before for the same path.
type Handler = dyn Fn(&Request, u32) -> Answer + Send + Sync;

pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) headers: String,
    body: Vec<u8>,
    /// Bytes after which the connection is closed.
    cut: Option<usize>,
    /// The length it tells, where that is not the body's.
    claimed: Option<usize>,
    /// Whether it stays open instead, without another byte, until the client closes it.
    silent: bool,
}

impl Answer {
    pub(super) fn whole(body: &[u8]) -> Self {
        Self {
            status: "200 OK",
            headers: String::new(),
            body: body.to_vec(),
            cut: None,
            claimed: None,
            silent: false,
        }
    }

    pub(super) fn status(status: &'static str) -> Self {
        Self {
            status,
            ..Self::whole(b"")
        }
    }

    /// What a server that knows ranges and this ETag answers.
    pub(super) fn ranged(request: &Request, body: &[u8], etag: &str) -> Self {
        let current = request.header("if-range").is_none_or(|tag| tag == etag);
        let start = request.range().filter(|start| current && *start < body.len());
        let mut answer = Self::whole(&body[start.unwrap_or(0)..]);
        answer.headers = format!("ETag: {etag}\r\n");
        if let Some(start) = start {
            answer.status = "206 Partial Content";
            answer.headers += &format!(
                "Content-Range: bytes {start}-{}/{}\r\n",
                body.len() - 1,
                body.len()
            );
        }
        answer
    }

    pub(super) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Tells another length than the body has.
    pub(super) fn claiming(self, length: usize) -> Self {
        Self {
            claimed: Some(length),
            ..self
        }
    }

    pub(super) fn silent_after(self, bytes: usize) -> Self {
        Self {
            silent: true,
            ..self.cut_after(bytes)
        }
    }

    fn send(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let length = self.body.len();
        let claimed = self.claimed.unwrap_or(length);
        write!(
            stream,
            "HTTP/1.1 {}\r\nContent-Length: {claimed}\r\n",
            self.status
        )?;
        write!(stream, "Connection: close\r\n{}\r\n", self.headers)?;
        stream.write_all(&self.body[..self.cut.unwrap_or(length)])?;
        if self.silent {
            std::io::copy(stream, &mut std::io::sink())?;
        }
        Ok(())
    }
}

/// Serves until the test ends; each connection has a thread of its own.
pub(super) struct Server {
    pub(super) base_url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(super) fn start(handler: impl Fn(&Request, u32) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let requests = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, requests) = (Arc::clone(&handler), Arc::clone(&requests));
                std::thread::spawn(move || serve(stream, &*handler, &requests));
            }
        });
        Self { base_url, seen }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    pub(super) fn requests(&self, path: &str) -> Vec<Request> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|request| request.path == path)
            .cloned()
            .collect()
    }
}

fn serve(mut stream: TcpStream, handler: &Handler, seen: &Mutex<Vec<Request>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else {
        return;
    };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let headers = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
    let request = Request {
        path,
        headers: headers.map(|line| line.to_ascii_lowercase()).collect(),
    };
    let before = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|other| other.path == request.path).count();
        seen.push(request.clone());
        before
    };
    // A client that hangs up is part of some tests.
    let _ = handler(&request, u32::try_from(before).unwrap()).send(&mut stream);
}

/// Promises more than any disk holds.
pub(super) struct Huge;

impl Huge {
    pub(super) const BYTES: u64 = 1 << 60;

    pub(super) fn start() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let request = BufReader::new(stream.try_clone().unwrap())
                    .lines()
                    .map_while(Result::ok);
                request.take_while(|line| !line.is_empty()).for_each(drop);
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    Self::BYTES
                );
            }
        });
        format!("http://{address}/d")
    }
}
