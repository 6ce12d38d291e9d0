//! Compression of messages and of pieces of files, where that pays.

use crate::error::Error;

/// Less is sent as it is: it fits a packet, and waits for no compressor.
const LEAST: usize = 1024;
/// Pieces that are sent as they are after one that did not get shorter: it is compressed content, mostly.
const PAUSE: u32 = 3;
const LEVEL: i32 = 1;

/// One end's compressor.
pub struct Packer {
    context: Option<zstd::bulk::Compressor<'static>>,
    pause: u32,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("pause", &self.pause).finish_non_exhaustive()
    }
}

impl Default for Packer {
    fn default() -> Self {
        // Without memory for one, nothing is compressed.
        Self { context: zstd::bulk::Compressor::new(LEVEL).ok(), pause: 0 }
    }
}

impl Packer {
    /// A message, encoded and compressed; none where it is better sent as it is.
    pub(crate) fn pack_message(&mut self, message: &impl prost::Message) -> Option<Vec<u8>> {
        // Most messages are small: these are encoded once.
        if message.encoded_len() < LEAST { None } else { self.pack(&message.encode_to_vec()) }
    }

    /// `bytes` compressed; none where they are better sent as they are.
    pub fn pack(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() < LEAST {
            return None;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        let packed = self.context.as_mut()?.compress(bytes).ok()?;
        if packed.len() > bytes.len() / 10 * 9 {
            self.pause = PAUSE;
            return None;
        }
        Some(packed)
    }
}

/// What was packed; more than `most` bytes of it are an error.
pub fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, Error> {
    // The frame says how much comes out, and a liar gets no more than that.
    let size = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
    let size = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= most);
    let size = size.ok_or(Error::Malformed("more in it than a message may have"))?;
    zstd::bulk::decompress(packed, size).map_err(Error::Packed)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::{PAUSE, Packer, unpack};

    #[test]
    fn what_pays_is_packed_and_comes_out_the_same() {
        let mut packer = Packer::default();
        let text = "fn main() {}\n".repeat(1000).into_bytes();
        let packed = packer.pack(&text).unwrap();
        assert!(packed.len() < text.len() / 10);
        assert_eq!(unpack(&packed, text.len()).unwrap(), text);
        assert!(unpack(&packed, text.len() - 1).is_err(), "a bomb");
        assert!(unpack(b"no zstd", 1000).is_err());
        assert!(packer.pack(&text[..1000]).is_none(), "a small one goes at once");
    }

    #[test]
    fn what_does_not_get_shorter_is_tried_now_and_then() {
        let mut noise = vec![0; 4096];
        StdRng::seed_from_u64(1).fill_bytes(&mut noise);
        let text = vec![7; 4096];
        let mut packer = Packer::default();
        assert!(packer.pack(&noise).is_none());
        let tried = (0..=PAUSE).filter(|_| packer.pack(&text).is_some()).count();
        assert_eq!(tried, 1);
    }
}
