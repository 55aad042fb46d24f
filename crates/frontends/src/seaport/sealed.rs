//! The sealed lines of the original's `secure-peer`: an exchange of two headers, then lines with signatures.
//!
//! Each header offers a token, a public key and a Diffie-Hellman share, and is signed. After that a line is a
//! ciphertext with a signature over its number, the two tokens and itself: a line that is changed, omitted, repeated or
//! moved is rejected. The cipher is RC4 with the same key stream for every line, which hides nothing from an attacker:
//! **only the signatures protect**. The original's clients support no other cipher.
//!
//! Owns: both headers, the numbers, sealing and opening. Does not own: the authorization of keys ([`super::keys`]).

use super::keys::{KeyPair, PublicKey};
use crypto_bigint::U1536;
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512};
use data_encoding::BASE64;
use md5::Md5;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use sha1::Digest;
use skyhound_net::lines::LINE_MAX;
use std::sync::Arc;

/// The limit for a sealed line, in bytes: the longest row in base64 with a signature, or a chunk of rows as Node writes
/// them.
pub const SEALED_MAX: usize = 128 * 1024;
/// The prime of group 5 (RFC 3526 section 2), which Node calls `modp5`. Its generator is 2.
const MODP5: U1536 = U1536::from_be_hex(concat!(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd",
    "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed",
    "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f",
    "83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca237327ffffffffffffffff",
));
const CIPHER: &str = "RC4";

/// The offer of this side in the exchange of keys.
#[derive(Debug)]
pub struct KeyOffer {
    key_pair: Arc<KeyPair>,
    token: String,
    secret: U512,
    /// The header line.
    pub line: String,
}

impl KeyOffer {
    /// Creates an offer. `None` when the system has no randomness, or the key cannot sign.
    pub fn new(key_pair: Arc<KeyPair>) -> Option<Self> {
        let (mut token, mut exponent) = ([0; 64], [0; 64]);
        let random = SystemRandom::new();
        random.fill(&mut token).ok()?;
        random.fill(&mut exponent).ok()?;
        let (token, secret) = (BASE64.encode(&token), U512::from_be_slice(&exponent));
        let share = raise(&U1536::from_u8(2), &secret);
        let payload = json!({
            "token": token,
            "key": {"type": "rsa", "public": key_pair.public},
            "dh": {"group": "modp5", "public": BASE64.encode(&share)},
            "ciphers": [CIPHER],
        })
        .to_string();
        let line = json!({"hash": key_pair.sign(payload.as_bytes())?, "payload": payload}).to_string();
        Some(Self { key_pair, token, secret, line })
    }

    /// Verifies the other side's header. Returns the channel with that side, and its public key, which the caller has
    /// to authorize.
    pub fn accept(self, header: &[u8]) -> Result<(SealedChannel, String), &'static str> {
        let PeerHeader { token, pem, key, share } = PeerHeader::verify(header, &self.token)?;
        let share = BASE64.decode(share.as_bytes()).map_err(|_| "the share of the key exchange is not base64")?;
        let secret =
            BASE64.encode(&shared(&share, &self.secret).ok_or("the share of the key exchange is outside the group")?);
        let token = if self.token > token { self.token + &token } else { token + &self.token };
        // OpenSSL's EVP_BytesToKey: one round of MD5, no salt.
        let cipher = Md5::digest(secret).into();
        Ok((
            SealedChannel {
                key_pair: self.key_pair,
                key,
                token,
                cipher,
                sent: 0,
                received: 0,
                partial_row: Vec::new(),
            },
            pem,
        ))
    }
}

/// The header of the other side, after its verification.
struct PeerHeader {
    token: String,
    /// The public key as PEM text, and parsed.
    pem: String,
    key: PublicKey,
    /// The Diffie-Hellman share, in base64.
    share: String,
}

impl PeerHeader {
    /// Parses a header, and verifies its signature and parameters.
    fn verify(header: &[u8], local_token: &str) -> Result<Self, &'static str> {
        let field = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let header: Value = serde_json::from_slice(header).map_err(|_| "the header is not JSON")?;
        let (Some(hash), Some(payload)) = (field(&header, "/hash"), field(&header, "/payload")) else {
            return Err("the header lacks hash or payload");
        };
        let fields: Value = serde_json::from_str(&payload).map_err(|_| "the header's payload is not JSON")?;
        let (Some(token), Some(pem), Some(share)) =
            (field(&fields, "/token"), field(&fields, "/key/public"), field(&fields, "/dh/public"))
        else {
            return Err("the header's payload lacks token, key or dh");
        };
        let key = PublicKey::parse(&pem).ok_or("the header's key is not an RSA key as PEM text")?;
        if !key.verifies(payload.as_bytes(), &hash) {
            return Err("the header's signature does not match its key");
        }
        if token == local_token {
            return Err("the header is this side's own, sent back");
        }
        if field(&fields, "/dh/group").is_none_or(|group| group != "modp5") {
            return Err("the group of the key exchange is not modp5, the only supported one");
        }
        let ciphers = fields["ciphers"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !ciphers.iter().any(|cipher| cipher == CIPHER) {
            return Err("there is no common cipher; RC4 is the only supported one");
        }
        Ok(Self { token, pem, key, share })
    }
}

/// Raises a base to a power in the group. The result has 192 bytes.
fn raise(base: &U1536, exponent: &U512) -> Vec<u8> {
    let Some(prime) = Odd::new(MODP5).into_option() else { return Vec::new() };
    let params = FixedMontyParams::new(prime);
    FixedMontyForm::new(base, &params).pow(exponent).retrieve().to_be_bytes().as_ref().to_vec()
}

/// Computes the shared secret. `None` for a share that would reveal it: 0, 1 and the prime less 1.
fn shared(share: &[u8], secret: &U512) -> Option<Vec<u8>> {
    let zeros = share.iter().take_while(|byte| **byte == 0).count();
    let share = &share[zeros..];
    let mut padded = [0; 192];
    padded.get_mut(192_usize.checked_sub(share.len())?..)?.copy_from_slice(share);
    let share = U1536::from_be_slice(&padded);
    let fits = share > U1536::ONE && share < MODP5.wrapping_sub(&U1536::ONE);
    fits.then(|| raise(&share, secret))
}

/// A channel that seals sent rows and opens received lines.
pub struct SealedChannel {
    key_pair: Arc<KeyPair>,
    key: PublicKey,
    token: String,
    cipher: [u8; 16],
    sent: u64,
    received: u64,
    /// The received part of an incomplete row: the other side seals bytes, not rows.
    partial_row: Vec<u8>,
}

impl std::fmt::Debug for SealedChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedChannel")
            .field("sent", &self.sent)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl SealedChannel {
    /// Seals a text into a line. `None` if the key cannot sign.
    pub fn seal(&mut self, text: &str) -> Option<String> {
        let body = BASE64.encode(&rc4(&self.cipher, text.as_bytes()));
        let hash = self.key_pair.sign(self.signed(self.sent, &body).as_bytes())?;
        self.sent += 1;
        Some(json!([body, hash]).to_string())
    }

    /// Opens a line. Returns the rows that it completes, or `None` when it ends the other direction. After an error no
    /// line of this channel can be trusted any more.
    pub fn open(&mut self, line: &[u8]) -> Result<Option<Vec<Vec<u8>>>, &'static str> {
        const WRONG: &str = "a sealed line is not the next one of the key that started this connection";
        let number = self.received;
        self.received += 1;
        let fields: Vec<String> = serde_json::from_slice(line).map_err(|_| "the line is not a sealed line")?;
        let (body, hash) = match fields.as_slice() {
            [hash] => ("", hash),
            [body, hash] => (body.as_str(), hash),
            _ => return Err("the line is not a sealed line"),
        };
        if !self.key.verifies(self.signed(number, body).as_bytes(), hash) {
            return Err(WRONG);
        }
        if fields.len() == 1 {
            return Ok(None);
        }
        self.partial_row.extend(rc4(&self.cipher, &BASE64.decode(body.as_bytes()).map_err(|_| WRONG)?));
        let whole = self.partial_row.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if self.partial_row.len() - whole > LINE_MAX {
            return Err("a row is longer than the limit of 32768 bytes");
        }
        let rest = self.partial_row.split_off(whole);
        let rows = std::mem::replace(&mut self.partial_row, rest);
        let rows = rows.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
        Ok(Some(rows.map(<[u8]>::to_vec).collect()))
    }

    fn signed(&self, number: u64, body: &str) -> String {
        format!("{number},{}{body}", self.token)
    }
}

/// Applies RC4, from the start of the key stream.
fn rc4(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut state: [u8; 256] = std::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
    let mut j = 0_u8;
    for i in 0..256 {
        j = j.wrapping_add(state[i]).wrapping_add(key[i % key.len()]);
        state.swap(i, usize::from(j));
    }
    let (mut i, mut j) = (0_u8, 0_u8);
    let next = |byte: &u8| {
        i = i.wrapping_add(1);
        j = j.wrapping_add(state[usize::from(i)]);
        state.swap(usize::from(i), usize::from(j));
        byte ^ state[usize::from(state[usize::from(i)].wrapping_add(state[usize::from(j)]))]
    };
    text.iter().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::pair;
    use super::*;

    fn both() -> (SealedChannel, SealedChannel) {
        let [a, b] = [0, 1].map(|which| KeyOffer::new(Arc::new(pair(which))).unwrap());
        let (line_a, line_b) = (a.line.clone(), b.line.clone());
        let (sealed_a, key_b) = a.accept(line_b.as_bytes()).unwrap();
        let (sealed_b, key_a) = b.accept(line_a.as_bytes()).unwrap();
        assert_eq!([key_a, key_b], [0, 1].map(|which| pair(which).public));
        (sealed_a, sealed_b)
    }

    fn rows(rows: &[&str]) -> Vec<Vec<u8>> {
        rows.iter().map(|row| row.as_bytes().to_vec()).collect()
    }

    #[test]
    fn rc4_matches_known_vectors() {
        // RFC 6229, key length 40 and 128 bits, offset 0.
        assert_eq!(rc4(&[1, 2, 3, 4, 5], &[0; 4]), [0xb2, 0x39, 0x63, 0x05]);
        let long: Vec<u8> = (1..=16).collect();
        assert_eq!(rc4(&long, &[0; 4]), [0x9a, 0xc7, 0xcc, 0x9a]);
        // The output of OpenSSL for the password `abc`.
        assert_eq!(rc4(&Md5::digest("abc"), b"hello"), [0x43, 0x81, 0x85, 0xac, 0x5f]);
    }

    #[test]
    fn sealed_text_opens_row_by_row() {
        let (mut a, mut b) = both();
        for text in ["one\n", "two\nth", "ree\n\n"] {
            let line = a.seal(text).unwrap();
            let want: &[&str] = match text {
                "one\n" => &["one"],
                "two\nth" => &["two"],
                _ => &["three"],
            };
            assert_eq!(b.open(line.as_bytes()), Ok(Some(rows(want))));
        }
        let back = b.seal("x\n").unwrap();
        assert_eq!(a.open(back.as_bytes()), Ok(Some(rows(&["x"]))));
        let end = json!([a.key_pair.sign(a.signed(a.sent, "").as_bytes()).unwrap()]).to_string();
        assert_eq!(b.open(end.as_bytes()), Ok(None));
    }

    #[test]
    fn altered_replayed_or_reordered_lines_are_rejected() {
        let lines = |a: &mut SealedChannel| ["one\n", "two\n"].map(|text| a.seal(text).unwrap());
        let (mut a, mut b) = both();
        let [one, two] = lines(&mut a);
        assert!(b.open(two.as_bytes()).is_err(), "omitted");
        let (mut a, mut b) = both();
        let [one_again, _] = lines(&mut a);
        assert!(b.open(one.as_bytes()).is_err(), "of another connection");
        let (mut a2, mut b2) = both();
        let [first, _] = lines(&mut a2);
        assert!(b2.open(first.as_bytes()).is_ok());
        assert!(b2.open(first.as_bytes()).is_err(), "repeated");
        let changed = one_again.replacen('A', "B", 1).replacen('a', "b", 1);
        assert!(b.open(changed.as_bytes()).is_err(), "changed");
        let (mut a, mut b) = both();
        let key_pair = b.seal("x\n").unwrap();
        assert!(b.open(key_pair.as_bytes()).is_err(), "sent back");
        for none in ["", "[]", "{}", "[1]", "[\"a\",\"b\",\"c\"]", "[\"a\",\"b\"]"] {
            assert!(a.open(none.as_bytes()).is_err(), "{none}");
        }
    }

    fn offer() -> KeyOffer {
        KeyOffer::new(Arc::new(pair(0))).unwrap()
    }

    /// A header of the other side with this payload.
    fn signed(payload: &str) -> String {
        json!({"hash": pair(1).sign(payload.as_bytes()).unwrap(), "payload": payload}).to_string()
    }

    #[test]
    fn an_invalid_header_is_rejected() {
        let header = KeyOffer::new(Arc::new(pair(1))).unwrap().line;
        let value: Value = serde_json::from_str(&header).unwrap();
        let payload = value["payload"].as_str().unwrap().to_owned();
        let with = |pointer: &str, new: Value| {
            let mut fields: Value = serde_json::from_str(&payload).unwrap();
            *fields.pointer_mut(pointer).unwrap() = new;
            signed(&fields.to_string())
        };
        assert!(offer().accept(signed(&payload).as_bytes()).is_ok());
        let one = BASE64.encode(&[1]);
        let less = BASE64.encode(MODP5.wrapping_sub(&U1536::ONE).to_be_bytes().as_ref());
        for (header, why) in [
            ("x".to_owned(), "the header is not JSON"),
            ("{}".to_owned(), "the header lacks"),
            (header.replace("rsa", "RSA"), "the header's signature"),
            (signed("x"), "the header's payload is not JSON"),
            (signed("{}"), "the header's payload lacks"),
            (with("/key/public", json!("x y")), "the header's key"),
            (with("/key/public", json!(pair(0).public)), "the header's signature"),
            (with("/ciphers", json!(["aes"])), "there is no common cipher"),
            (with("/dh/group", json!("modp1")), "the group"),
            (with("/dh/public", json!("?")), "the share of the key exchange is not"),
            (with("/dh/public", json!("")), "the share of the key exchange is outside the group"),
            (with("/dh/public", json!(one)), "the share of the key exchange is outside the group"),
            (with("/dh/public", json!(less)), "the share of the key exchange is outside the group"),
            (
                with("/dh/public", json!(BASE64.encode(&[255; 192]))),
                "the share of the key exchange is outside the group",
            ),
            (
                with("/dh/public", json!(BASE64.encode(&[255; 193]))),
                "the share of the key exchange is outside the group",
            ),
        ] {
            let error = offer().accept(header.as_bytes()).unwrap_err();
            assert!(error.starts_with(why), "{error}: expected {why}");
        }
    }

    #[test]
    fn a_header_that_is_sent_back_is_rejected() {
        let own = offer();
        let line = own.line.clone();
        assert_eq!(own.accept(line.as_bytes()).unwrap_err(), "the header is this side's own, sent back");
    }
}
