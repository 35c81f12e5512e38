//! Frames on a stream: a length, a number by which an answer finds its question, and octets.

use std::io;

use futures::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio_util::bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// The longest frame, in octets: what taps have seen of a thousand calls takes a tenth of it.
const LONGEST: usize = 64 << 20;

pub(super) type Reader<S> = FramedRead<ReadHalf<S>, LengthDelimitedCodec>;
pub(super) type Writer<S> = FramedWrite<WriteHalf<S>, LengthDelimitedCodec>;

/// The two directions of a stream, in frames.
pub(super) fn split<S: AsyncRead + AsyncWrite>(stream: S) -> (Reader<S>, Writer<S>) {
    let codec = || {
        LengthDelimitedCodec::builder()
            .max_frame_length(LONGEST)
            .new_codec()
    };
    let (read, write) = tokio::io::split(stream);
    (
        FramedRead::new(read, codec()),
        FramedWrite::new(write, codec()),
    )
}

/// The next frame: its number and what is in it. `None` at the end of the stream.
pub(super) async fn next<S>(reader: &mut Reader<S>) -> io::Result<Option<(u64, Bytes)>>
where
    S: AsyncRead + AsyncWrite,
{
    let Some(frame) = reader.next().await.transpose()? else {
        return Ok(None);
    };
    let mut frame = frame.freeze();
    let number = frame.try_get_u64().map_err(io::Error::other)?;
    Ok(Some((number, frame)))
}

/// Sends a frame.
pub(super) async fn send<S>(writer: &mut Writer<S>, number: u64, content: &[u8]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite,
{
    let mut frame = BytesMut::with_capacity(8 + content.len());
    frame.put_u64(number);
    frame.put_slice(content);
    writer.send(frame.freeze()).await
}

/// A value as octets.
///
/// # Panics
/// Never, for types without maps of unknown length: nothing here can refuse a value.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("a message can be written")
}

/// A value from octets.
pub(super) fn decode<T: DeserializeOwned>(octets: &[u8]) -> io::Result<T> {
    postcard::from_bytes(octets).map_err(io::Error::other)
}
