//! RSA keys as the original has them: PEM texts in JSON files.
//!
//! Owns: reading them, signing and verifying (RSA-SHA256, PKCS#1 v1.5, by ring), and whose key may write. Does not own:
//! what is signed ([`super::sealed`]).

use data_encoding::BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest key file, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// What is wrong with a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct KeyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The key of this side.
pub struct KeyPair {
    /// The public half, as the other side is told.
    pub public: String,
    private: RsaKeyPair,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// From two PEM texts, PKCS#1 (`RSA PRIVATE KEY`) or PKCS#8.
    pub fn new(public: &str, private: &str) -> Result<Self, String> {
        let der = body(private).ok_or("the private key is no PEM text")?;
        let read = RsaKeyPair::from_der(&der).or_else(|_| RsaKeyPair::from_pkcs8(&der));
        let private =
            read.map_err(|e| format!("the private key cannot be used ({e}); give an RSA key of 2048 to 4096 bits"))?;
        let pair = Self { public: public.to_owned(), private };
        let theirs = PublicKey::parse(public).ok_or("the public key is no RSA key as PEM text")?;
        let signature = pair.sign(b"").ok_or("the private key signs nothing")?;
        if !theirs.verifies(b"", &signature) {
            return Err("the public key is not that of the private one".into());
        }
        Ok(pair)
    }

    /// The signature of a text, in base64.
    pub fn sign(&self, text: &[u8]) -> Option<String> {
        let mut signature = vec![0; self.private.public().modulus_len()];
        self.private.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).ok()?;
        Some(BASE64.encode(&signature))
    }
}

/// The key of the other side.
#[derive(Debug, Clone)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// From a PEM text, PKCS#1 (`RSA PUBLIC KEY`) or with its algorithm (`PUBLIC KEY`).
    pub fn parse(pem: &str) -> Option<Self> {
        let der = body(pem)?;
        Some(Self(inner(&der).map_or_else(|| der.clone(), <[u8]>::to_vec)))
    }

    /// Whether a signature in base64 is this key's over a text. Keys of 1024 bits are taken: the clients for whose sake
    /// this is here have such, and whose key is authorized is the operator's word.
    pub fn verifies(&self, text: &[u8], signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature.as_bytes()) else { return false };
        UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &self.0)
            .verify(text, &signature)
            .is_ok()
    }
}

/// The bytes of a PEM text.
fn body(pem: &str) -> Option<Vec<u8>> {
    BASE64.decode(bare(pem).as_bytes()).ok().filter(|der| !der.is_empty())
}

/// A PEM text without armour and white space: what two spellings of one key have in common.
fn bare(pem: &str) -> String {
    pem.lines().filter(|line| !line.trim_start().starts_with("-----")).flat_map(str::split_whitespace).collect()
}

/// The `RSAPublicKey` within a `SubjectPublicKeyInfo` (RFC 5280 section 4.1): SEQUENCE { SEQUENCE …, BIT STRING }.
fn inner(der: &[u8]) -> Option<&[u8]> {
    let (0x30, all, _) = tlv(der)? else { return None };
    let (0x30, _, rest) = tlv(all)? else { return None };
    let (0x03, bits, _) = tlv(rest)? else { return None };
    bits.strip_prefix(&[0])
}

/// One DER value: its tag, what is in it, what is behind it.
fn tlv(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else { return None };
    let (length, rest) = match length {
        short @ 0..=0x7f => (usize::from(*short), rest),
        long => {
            let bytes = usize::from(long & 0x7f);
            let digits = rest.get(..bytes).filter(|_| bytes <= 3)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), &rest[bytes..])
        }
    };
    Some((*tag, rest.get(..length)?, &rest[length..]))
}

/// What a hub has of keys: its own, and whose peers may write.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The hub's.
    pub own: Arc<KeyPair>,
    authorized: HashSet<String>,
}

impl Keys {
    /// Reads key files as the original's `listen` does: an object has `public` and `private`, an array is of public keys
    /// that are authorized. `None` when there are no files.
    pub fn read(files: &[PathBuf]) -> Result<Option<Self>, KeyError> {
        let (mut own, mut authorized) = (None, HashSet::new());
        for path in files {
            let wrong = |problem: String| KeyError { path: path.clone(), problem };
            match load(path)? {
                Value::Array(keys) => {
                    for key in &keys {
                        let pem = key.as_str().or_else(|| key["public"].as_str());
                        let pem = pem.filter(|pem| PublicKey::parse(pem).is_some());
                        let pem = pem.ok_or_else(|| wrong("an array is of public keys, as PEM texts".into()))?;
                        authorized.insert(bare(pem));
                    }
                }
                value => own = Some(pair(&value).map_err(wrong)?),
            }
        }
        match (own, files.first()) {
            (Some(own), _) => Ok(Some(Self { own: Arc::new(own), authorized })),
            (None, None) => Ok(None),
            (None, Some(path)) => Err(KeyError {
                path: path.clone(),
                problem: "no file has the hub's own key: an object with public and private".into(),
            }),
        }
    }

    /// Whether the peer with this key may write. Without a list everybody with a key may.
    pub fn authorize(&self, pem: &str) -> bool {
        self.authorized.is_empty() || self.authorized.contains(&bare(pem))
    }
}

/// Reads one key pair: an object with `public` and `private`.
pub fn read_pair(path: &Path) -> Result<KeyPair, KeyError> {
    pair(&load(path)?).map_err(|problem| KeyError { path: path.to_owned(), problem })
}

fn pair(value: &Value) -> Result<KeyPair, String> {
    match (value["public"].as_str(), value["private"].as_str()) {
        (Some(public), Some(private)) => KeyPair::new(public, private),
        _ => Err("a key file is an object with public and private, or an array of public keys".into()),
    }
}

fn load(path: &Path) -> Result<Value, KeyError> {
    let wrong = |problem: String| KeyError { path: path.to_owned(), problem };
    let length = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > FILE_MAX {
        return Err(wrong(format!("is {length} bytes; {FILE_MAX} is the most for a key file")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| wrong(format!("is not JSON: {e}")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A pair made by `openssl genrsa 2048`, for tests only.
    pub(crate) fn pair(which: usize) -> KeyPair {
        let [public, private] = PAIRS[which];
        KeyPair::new(public, private).unwrap()
    }

    const PAIRS: [[&str; 2]; 2] = [
        [include_str!("testing/a.pub.pem"), include_str!("testing/a.pem")],
        [include_str!("testing/b.pub.pem"), include_str!("testing/b.pem")],
    ];

    #[test]
    fn a_signature_verifies_one_key_and_one_text() {
        let (a, b) = (pair(0), pair(1));
        let [key_a, key_b] = [&a, &b].map(|pair| PublicKey::parse(&pair.public).unwrap());
        let signature = a.sign(b"text").unwrap();
        assert!(key_a.verifies(b"text", &signature));
        assert!(!key_a.verifies(b"texx", &signature) && !key_b.verifies(b"text", &signature));
        assert!(!key_a.verifies(b"text", "") && !key_a.verifies(b"text", "?"));
    }

    #[test]
    fn invalid_keys_are_refused_with_a_reason() {
        let [public, private] = PAIRS[0];
        assert!(KeyPair::new(PAIRS[1][0], private).unwrap_err().contains("not that of the private one"));
        assert!(KeyPair::new(public, public).unwrap_err().contains("cannot be used"));
        assert!(KeyPair::new(public, "x y").unwrap_err().contains("no PEM"));
        assert!(PublicKey::parse("").is_none());
        for der in [&[][..], &[0x30], &[0x30, 0x82], &[0x30, 0x84, 1, 1, 1, 1], &[0x30, 5, 0x30, 9]] {
            assert_eq!(inner(der), None);
        }
    }

    #[test]
    fn key_files_hold_the_hubs_key_and_authorized_keys() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, value: &Value| {
            let path = dir.path().join(name);
            std::fs::write(&path, value.to_string()).unwrap();
            path
        };
        let [[public, private], [other, _]] = PAIRS;
        let hub = file("hub", &serde_json::json!({"public": public, "private": private}));
        let list = file("list", &serde_json::json!([public]));
        assert!(Keys::read(&[]).unwrap().is_none());
        let open = Keys::read(std::slice::from_ref(&hub)).unwrap().unwrap();
        assert!(open.authorize(other), "without a list everybody is");
        let keys = Keys::read(&[list.clone(), hub]).unwrap().unwrap();
        assert!(keys.authorize(public) && !keys.authorize(other) && !keys.authorize(""));
        assert!(keys.authorize(&public.replace('\n', " \r\n\r\n ")), "white space does not count");
        assert!(Keys::read(&[list]).unwrap_err().to_string().contains("no file has the hub's own key"));
        for bad in [serde_json::json!(7), serde_json::json!({"public": public}), serde_json::json!(["x y"])] {
            assert!(Keys::read(&[file("bad", &bad)]).is_err());
        }
    }
}
