//! AMQP by hand, for messages that no client library writes.

use std::collections::BTreeMap;

use lapin::uri::AMQPUri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::PATIENCE;

const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xCE;

/// RabbitMQ's largest frame.
pub const FRAME_MAX: usize = 131_072;

/// The class of messages.
const BASIC: u16 = 60;

/// A property of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of AMQP")]
pub enum Property {
    ContentType,
    ContentEncoding,
    Headers,
    DeliveryMode,
    Priority,
    CorrelationId,
    ReplyTo,
    Expiration,
    MessageId,
    Timestamp,
    Type,
    UserId,
    AppId,
    ClusterId,
}

/// The properties of a message, each with its bytes.
pub type Properties = BTreeMap<Property, Vec<u8>>;

/// A connection to RabbitMQ in confirm mode, on one channel.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects to RabbitMQ.
    ///
    /// # Panics
    /// Panics if that fails.
    pub async fn connect(url: &str) -> Self {
        let uri: AMQPUri = url.parse().expect("an AMQP URL");
        let address = (uri.authority.host.as_str(), uri.authority.port);
        let mut wire = Self { stream: TcpStream::connect(address).await.expect("a connection") };
        wire.stream.write_all(b"AMQP\0\0\x09\x01").await.expect("written");
        wire.answer((10, 10)).await;
        let user = &uri.authority.userinfo;
        let response = format!("\0{}\0{}", user.username, user.password);
        let start_ok = [long(b""), short(b"PLAIN"), long(response.as_bytes()), short(b"en_US")].concat();
        wire.call(0, (10, 11), &start_ok).await;
        wire.answer((10, 30)).await;
        let frame_max = u32::try_from(FRAME_MAX).expect("a size").to_be_bytes();
        wire.call(0, (10, 31), &[&2_047_u16.to_be_bytes()[..], &frame_max, &[0, 0]].concat()).await;
        wire.call(0, (10, 40), &[short(uri.vhost.as_bytes()), short(b""), vec![0]].concat()).await;
        wire.answer((10, 41)).await;
        wire.call(1, (20, 10), &short(b"")).await;
        wire.answer((20, 11)).await;
        wire.call(1, (85, 10), &[0]).await;
        wire.answer((85, 11)).await;
        wire
    }

    /// Publishes a message, and waits until RabbitMQ has confirmed it.
    ///
    /// # Panics
    /// Panics if RabbitMQ refuses it.
    pub async fn put(&mut self, exchange: &str, routing_key: &[u8], properties: &Properties, body: &[u8]) {
        let publish = [vec![0, 0], short(exchange.as_bytes()), short(routing_key), vec![0]].concat();
        self.call(1, (BASIC, 40), &publish).await;
        let mut flags = 0_u16;
        for property in properties.keys() {
            flags |= 1 << (15 - *property as u16);
        }
        let mut content = [&BASIC.to_be_bytes()[..], &[0, 0], &(body.len() as u64).to_be_bytes()].concat();
        content.extend_from_slice(&flags.to_be_bytes());
        properties.values().for_each(|value| content.extend_from_slice(value));
        self.frame(CONTENT_HEADER, 1, &content).await;
        for part in body.chunks(FRAME_MAX - 8) {
            self.frame(BODY, 1, part).await;
        }
        self.answer((BASIC, 80)).await;
    }

    async fn call(&mut self, channel: u16, method: (u16, u16), arguments: &[u8]) {
        let payload = [&method.0.to_be_bytes()[..], &method.1.to_be_bytes(), arguments].concat();
        self.frame(METHOD, channel, &payload).await;
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let head = [&[kind][..], &channel.to_be_bytes()].concat();
        self.stream.write_all(&[&head, &long(payload)[..], &[END]].concat()).await.expect("written");
    }

    /// Waits for a method.
    async fn answer(&mut self, expected: (u16, u16)) {
        let method = timeout(PATIENCE, self.next_method()).await.expect("an answer").expect("a frame");
        let word = |at: usize| u16::from_be_bytes([method[at], method[at + 1]]);
        assert_eq!((word(0), word(2)), expected, "{}", String::from_utf8_lossy(&method));
    }

    async fn next_method(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head).await?;
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
            let mut payload = vec![0; size as usize + 1];
            self.stream.read_exact(&mut payload).await?;
            if head[0] == METHOD {
                return Ok(payload);
            }
        }
    }
}

/// Returns a short string.
///
/// # Panics
/// Panics if it has more than 255 bytes.
pub fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short string")][..], text].concat()
}

/// Returns a long string, or a table or array of these bytes.
///
/// # Panics
/// Panics if it is larger than AMQP allows.
pub fn long(content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len()).expect("a long string").to_be_bytes()[..], content].concat()
}

/// Returns a header with a text.
pub fn text_header(name: &[u8], text: &[u8]) -> Vec<u8> {
    [short(name), b"S".to_vec(), long(text)].concat()
}

/// Returns a header with this many arrays, or tables, inside one another.
///
/// # Panics
/// Panics if it is larger than AMQP allows.
pub fn nested_header(name: &[u8], levels: usize, tables: bool) -> Vec<u8> {
    let (tag, before): (u8, &[u8]) = if tables { (b'F', b"\x01k") } else { (b'A', b"") };
    let mut header = short(name);
    for inner in (0..levels).rev() {
        // The innermost level holds a value of one byte.
        let length = inner * (before.len() + 5) + before.len() + 1;
        header.push(tag);
        header.extend_from_slice(&u32::try_from(length).expect("a length").to_be_bytes());
        header.extend_from_slice(before);
    }
    header.push(b'V');
    header
}
