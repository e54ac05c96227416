//! Atoll's own view of its network, asked over its API.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::error::{BenchError, Trying};

const PATIENCE: Duration = Duration::from_secs(30);

/// The network's picture: flows, counters, ports.
pub(crate) fn network(socket: &Path) -> Result<Value, BenchError> {
    let what = || format!("cannot ask {}", socket.display());
    let mut stream = UnixStream::connect(socket).trying(what)?;
    stream.set_read_timeout(Some(PATIENCE)).trying(what)?;
    let request = b"GET /v1/network HTTP/1.1\r\nhost: atoll\r\nconnection: close\r\n\r\n";
    stream.write_all(request).trying(what)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).trying(what)?;
    body(&answer).ok_or_else(|| BenchError::Answer {
        program: "atoll's API".to_owned(),
        missing: "a JSON body of known length".to_owned(),
    })
}

/// The JSON after the head of an answer whose body is not chunked.
fn body(answer: &[u8]) -> Option<Value> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    serde_json::from_slice(answer.get(head + 4..)?).ok()
}

/// How many flows there are.
pub(crate) fn flows(picture: &Value) -> Option<f64> {
    let flows = find(picture, "flows")?;
    let count = flows
        .as_array()
        .map(Vec::len)
        .or_else(|| flows.as_object().map(serde_json::Map::len));
    let count = count.and_then(|count| u32::try_from(count).ok()).map(f64::from);
    count.or_else(|| flows.as_f64())
}

/// A counter by its name.
pub(crate) fn counter(picture: &Value, name: &str) -> Option<f64> {
    find(picture, "counters")?.get(name)?.as_f64()
}

/// The member `name` of the object, or of the first element of a list of them.
fn find<'a>(picture: &'a Value, name: &str) -> Option<&'a Value> {
    picture.get(name).or_else(|| picture.get(0)?.get(name))
}

#[cfg(test)]
mod tests {
    use super::{body, counter, flows};

    #[test]
    fn flows_and_counters_are_read_from_an_answer() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n\
            {\"flows\":[{},{}],\"counters\":{\"tcp_retransmit\":7}}";
        let picture = body(answer).unwrap();
        assert_eq!(flows(&picture), Some(2.0));
        assert_eq!(counter(&picture, "tcp_retransmit"), Some(7.0));
        assert_eq!(counter(&picture, "other"), None);
    }
}
