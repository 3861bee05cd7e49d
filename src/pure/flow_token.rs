//! Flow tokens (RFC 5626 section 5.2): a name of one connection that the host puts into a Route or
//! Record-Route header field and that whoever sends it back cannot have made or altered.
//!
//! A token is 21 bytes as 28 characters that a SIP user part may have: number of the start (4 bytes),
//! slot and generation (6), and of the keyed hash of both the first 11. The key is drawn at each start, so
//! the number is there only to tell a token of an earlier start, whose flow is gone (430), from one that
//! somebody made up (403, section 5.3.1).

use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// Characters of a token.
pub const TOKEN_LENGTH: usize = 28;
const NAME_BYTES: usize = 10;
const BYTES: usize = TOKEN_LENGTH / 4 * 3;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Of this start: this slot and generation.
    Named { slot: u32, generation: u32 },
    /// Of another start.
    EarlierStart,
    /// Not made here.
    Forged,
}

/// Secret of one start, the same in all its processes.
#[derive(Clone)]
pub struct FlowKey {
    key: [u8; 16],
    start: [u8; 4],
}

impl FlowKey {
    pub fn new(random: [u8; 20]) -> FlowKey {
        let [key @ .., a, b, c, d] = random;
        FlowKey {
            key,
            start: [a, b, c, d],
        }
    }

    pub fn token(&self, slot: u32, generation: u32) -> String {
        // 20 bits of slot and 26 of generation, see `pure::words`.
        let name = (u64::from(slot) << 26 | u64::from(generation)).to_be_bytes();
        let mut bytes = [0; BYTES];
        let said = self.start.iter().chain(name.get(2..).unwrap_or_default());
        for (place, byte) in bytes.iter_mut().zip(said) {
            *place = *byte;
        }
        let hash = self.hash(&bytes);
        for (place, byte) in bytes.iter_mut().skip(NAME_BYTES).zip(hash) {
            *place = byte;
        }
        encode(&bytes)
    }

    pub fn read(&self, token: &[u8]) -> Flow {
        let Some(bytes) = decode(token) else {
            return Flow::Forged;
        };
        let [a, b, c, d, name @ ..] = bytes;
        if [a, b, c, d] != self.start {
            return Flow::EarlierStart;
        }
        // No early end: how long it takes must not tell how much is right.
        let expected = self.hash(&bytes);
        let wrong = bytes
            .iter()
            .skip(NAME_BYTES)
            .zip(expected)
            .fold(0, |wrong, (have, want)| wrong | (have ^ want));
        if wrong != 0 {
            return Flow::Forged;
        }
        let name = name
            .iter()
            .take(NAME_BYTES - 4)
            .fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
        Flow::Named {
            slot: (name >> 26) as u32,
            generation: name as u32 & crate::pure::id::GENERATION_MASK,
        }
    }

    /// Of a token's first part.
    fn hash(&self, bytes: &[u8; BYTES]) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(bytes.get(..NAME_BYTES).unwrap_or_default());
        hasher.finish128().as_bytes()
    }
}

/// RFC 4648 section 5: all of these may stand in a user part unescaped (RFC 3261 section 25.1).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8; BYTES]) -> String {
    let mut text = String::with_capacity(TOKEN_LENGTH);
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0, |word, byte| word << 8 | usize::from(*byte));
        for shift in [18, 12, 6, 0] {
            let letter = ALPHABET.get(word >> shift & 63);
            text.push(letter.map_or('A', |letter| char::from(*letter)));
        }
    }
    text
}

/// Three bytes for four letters, without padding: each token has one text.
fn decode(text: &[u8]) -> Option<[u8; BYTES]> {
    if text.len() != TOKEN_LENGTH {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (four, three) in text.chunks(4).zip(bytes.chunks_mut(3)) {
        let mut word = 0u32;
        for letter in four {
            let value = ALPHABET.iter().position(|known| known == letter)?;
            word = word << 6 | value as u32;
        }
        for (place, byte) in three.iter_mut().zip(word.to_be_bytes().into_iter().skip(1)) {
            *place = byte;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> FlowKey {
        FlowKey::new(core::array::from_fn(|i| seed.wrapping_mul(31) ^ i as u8))
    }

    #[test]
    fn a_token_names_its_flow_and_fits_a_user_part() {
        let key = key(1);
        for (slot, generation) in [
            (0, 1),
            (16_383, 77),
            (0xF_FFFF, 0x3FF_FFFF),
            (1, 0x200_0001),
        ] {
            let token = key.token(slot, generation);
            assert_eq!(token.len(), TOKEN_LENGTH);
            assert!(
                token
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            );
            assert_eq!(key.read(token.as_bytes()), Flow::Named { slot, generation });
        }
        assert_ne!(key.token(1, 1), key.token(1, 2));
    }

    #[test]
    fn every_altered_token_is_known_as_one() {
        let key = key(2);
        let token = key.token(4711, 3);
        for i in 0..TOKEN_LENGTH {
            for letter in ALPHABET {
                let mut other = token.clone().into_bytes();
                if other[i] == *letter {
                    continue;
                }
                other[i] = *letter;
                let read = key.read(&other);
                // The first letters are the number of the start.
                assert!(!matches!(read, Flow::Named { .. }), "{i}: {read:?}");
                assert_eq!(read == Flow::EarlierStart, i < 6 && read != Flow::Forged);
            }
        }
        for text in [
            "",
            "x",
            &token[1..],
            &format!("{token}A"),
            &token.replace(&token[5..6], "*"),
        ] {
            assert_eq!(key.read(text.as_bytes()), Flow::Forged, "{text:?}");
        }
    }

    #[test]
    fn a_token_of_another_start_names_nothing() {
        let (old, new) = (key(3), key(4));
        assert_eq!(new.read(old.token(5, 6).as_bytes()), Flow::EarlierStart);
        // The same number of the start, which is no secret, but another key.
        let made_up = FlowKey {
            start: new.start,
            ..old
        };
        assert_eq!(new.read(made_up.token(5, 6).as_bytes()), Flow::Forged);
    }
}
