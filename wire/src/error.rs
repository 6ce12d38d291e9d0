//! What can be wrong with a message.

/// Why a message can't be read. The stream that it came on is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It lacks something, or has something odd.
    #[error("a message of the sync stream has {0}")]
    Malformed(&'static str),
    /// A content was announced as sent before, and was not.
    #[error("a content was not sent before on this stream, or too long ago")]
    UnknownContent,
    /// What was compressed can't be read.
    #[error("decompress a message of the sync stream")]
    Packed(#[source] std::io::Error),
    /// What was decompressed can't be read.
    #[error("decode a message of the sync stream")]
    Decode(#[from] prost::DecodeError),
}
