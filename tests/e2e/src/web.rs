//! A plain web server on the host's loopback, as `python3 -m http.server` would be one: files by their path.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A client that asks for nothing is not waited for longer.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);

/// Files by their path, which begins with `/`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The running server.
#[derive(Debug)]
pub struct Web {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Web {
    /// Serves `files` on a port of the system's choice; any other path is 404.
    ///
    /// # Errors
    /// When the loopback gives no port.
    pub fn start(files: Files) -> io::Result<Self> {
        Self::serve(TcpListener::bind("127.0.0.1:0")?, files)
    }

    /// The same there.
    ///
    /// # Errors
    /// When the system does not tell where that is.
    pub fn serve(listener: TcpListener, files: Files) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let files = Arc::new(files);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let files = Arc::clone(&files);
                // A client that went away gets nothing.
                thread::spawn(move || serve(&stream, &files));
            }
        });
        Ok(Self { address })
    }
}

fn serve(mut stream: &TcpStream, files: &Files) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_PATIENCE))?;
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The head is read to its end: closing with bytes unread would be a reset.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (status, body) = match files.get(path_of(&request)) {
        Some(body) => ("200 OK", body.as_slice()),
        None => ("404 Not Found", &b""[..]),
    };
    let len = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

fn path_of(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Files, Web};
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn fetch(web: &Web, path: &str) -> String {
        let mut stream = TcpStream::connect(web.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_file_is_served_and_any_other_path_is_not_found() {
        let web = Web::start(Files::from([("/a/meta-data".to_owned(), b"text".to_vec())])).unwrap();
        let found = fetch(&web, "/a/meta-data");
        assert!(
            found.starts_with("HTTP/1.1 200 OK\r\n") && found.ends_with("\r\n\r\ntext"),
            "{found}"
        );
        let missing = fetch(&web, "/a/vendor-data");
        assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    }
}
