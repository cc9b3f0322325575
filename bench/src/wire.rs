//! A small HTTP/1.1 client: one connection, one request at a time, and streams that are read as they come. A whole client
//! library would be measured together with the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;

/// No answer takes longer in a measurement that is worth something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the server.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    server: SocketAddr,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; an answer that is no success is an error with its words.
    pub(crate) fn json(&self) -> Result<Json> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!((200..300).contains(&self.status), "the server answers {}: {text}", self.status);
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {text}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunked,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream: BufReader::with_capacity(1 << 16, stream), server })
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        self.send("GET", path, "")?;
        self.answer()
    }

    pub(crate) fn post(&mut self, path: &str, body: &Json) -> Result<Answer> {
        self.send("POST", path, &body.to_string())?;
        self.answer()
    }

    /// Asks for a stream and returns it when its head has come.
    pub(crate) fn stream(mut self, path: &str) -> Result<Lines> {
        self.send("GET", path, "")?;
        let (status, length) = self.head()?;
        ensure!(status == 200, "the stream {path} answers {status}");
        ensure!(length == Length::Chunked, "the stream {path} has an end");
        Ok(Lines {
            chunks: BufReader::with_capacity(1 << 16, Chunks { stream: self.stream, left: 0, over: false }),
        })
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> Result<()> {
        let server = self.server;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {server}\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
        );
        Ok(self.stream.get_mut().write_all(request.as_bytes())?)
    }

    fn answer(&mut self) -> Result<Answer> {
        let (status, length) = self.head()?;
        let mut body = Vec::new();
        match length {
            Length::Bytes(count) => {
                body.resize(count, 0);
                self.stream.read_exact(&mut body)?;
            }
            Length::Chunked => {
                while let Some(size) = chunk_size(&mut self.stream)? {
                    let from = body.len();
                    body.resize(from + size, 0);
                    self.stream.read_exact(&mut body[from..])?;
                    line(&mut self.stream)?;
                }
            }
        }
        Ok(Answer { status, body })
    }

    fn head(&mut self) -> Result<(u16, Length)> {
        let first = line(&mut self.stream)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("not an answer: `{first}`"))?;
        let mut length = Length::Bytes(0);
        loop {
            let header = line(&mut self.stream)?.to_ascii_lowercase();
            let Some((name, value)) = header.split_once(':') else { return Ok((status, length)) };
            match (name, value.trim()) {
                ("content-length", count) => length = Length::Bytes(count.parse()?),
                ("transfer-encoding", "chunked") => length = Length::Chunked,
                _ => {}
            }
        }
    }
}

/// A line without its end; the end of the connection is an error.
fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        bail!("the server closed the connection");
    }
    Ok(line.trim_end().to_owned())
}

/// The size of the next chunk; `None` after the last.
fn chunk_size(stream: &mut impl BufRead) -> Result<Option<usize>> {
    let size = line(stream)?;
    let digits = size.split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(digits, 16).with_context(|| format!("not a chunk: `{size}`"))?;
    if size == 0 {
        line(stream)?;
    }
    Ok(Some(size).filter(|size| *size > 0))
}

/// The lines of a stream.
pub(crate) struct Lines {
    chunks: BufReader<Chunks>,
}

impl Lines {
    /// Waits for the next line; `None` when the stream is over.
    pub(crate) fn next(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let read = self.chunks.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }
}

struct Chunks {
    stream: BufReader<TcpStream>,
    left: usize,
    over: bool,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.over {
            return Ok(0);
        }
        if self.left == 0 {
            match chunk_size(&mut self.stream).map_err(std::io::Error::other)? {
                Some(size) => self.left = size,
                None => {
                    self.over = true;
                    return Ok(0);
                }
            }
        }
        let most = into.len().min(self.left);
        let read = self.stream.read(&mut into[..most])?;
        self.left -= read;
        if self.left == 0 && read > 0 {
            line(&mut self.stream).map_err(std::io::Error::other)?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn server(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            for answer in answers {
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn answers_of_both_kinds_are_read_whole_on_one_connection() {
        let address = server(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
            "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"b\"\r\n3\r\n:2}\r\n0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        ]);
        let mut connection = Connection::open(address).unwrap();
        assert_eq!(connection.get("/").unwrap().json().unwrap()["a"], 1);
        assert_eq!(connection.post("/", &Json::Null).unwrap().json().unwrap()["b"], 2);
        assert!(connection.get("/").unwrap().json().unwrap_err().to_string().contains("404"));
    }

    #[test]
    fn lines_of_a_stream_are_whole_wherever_the_chunks_are_cut() {
        let address = server(&[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n6\r\n\ntwo\nt\r\n4\r\nhree\r\n0\r\n\r\n",
        ]);
        let mut lines = Connection::open(address).unwrap().stream("/").unwrap();
        let all: Vec<String> = std::iter::from_fn(|| lines.next().unwrap()).collect();
        assert_eq!(all, ["one", "two", "three"]);
    }
}
