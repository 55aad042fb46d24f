//! RSA keys in the original's form: PEM texts in JSON files.
//!
//! Owns: reading key files, signing and verifying (RSA-SHA256, PKCS#1 v1.5, by ring), and the list of authorized keys.
//! Does not own: the signed messages ([`super::sealed`]).

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

/// An invalid or unreadable key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct KeyFileError {
    /// The file.
    pub path: PathBuf,
    /// The problem.
    pub problem: String,
}

/// The key pair of this side.
pub struct KeyPair {
    /// The public key as PEM text, as the other side receives it.
    pub public: String,
    private: RsaKeyPair,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

impl KeyPair {
    /// Creates a pair from two PEM texts, PKCS#1 (`RSA PRIVATE KEY`) or PKCS#8.
    pub fn new(public: &str, private: &str) -> Result<Self, String> {
        let der = body(private).ok_or("the private key is not a PEM text")?;
        let read = RsaKeyPair::from_der(&der).or_else(|_| RsaKeyPair::from_pkcs8(&der));
        let private =
            read.map_err(|e| format!("the private key cannot be used ({e}); give an RSA key of 2048 to 4096 bits"))?;
        let pair = Self { public: public.to_owned(), private };
        let public_key = PublicKey::parse(public).ok_or("the public key is not an RSA key as PEM text")?;
        let signature = pair.sign(b"").ok_or("the private key cannot sign; give an RSA key of 2048 to 4096 bits")?;
        if !public_key.verifies(b"", &signature) {
            return Err("the public key does not belong to the private key".into());
        }
        Ok(pair)
    }

    /// Signs a text. The signature is in base64.
    pub fn sign(&self, text: &[u8]) -> Option<String> {
        let mut signature = vec![0; self.private.public().modulus_len()];
        self.private.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).ok()?;
        Some(BASE64.encode(&signature))
    }
}

/// The public key of the other side.
#[derive(Debug, Clone)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Parses a PEM text, PKCS#1 (`RSA PUBLIC KEY`) or with its algorithm (`PUBLIC KEY`).
    pub fn parse(pem: &str) -> Option<Self> {
        let der = body(pem)?;
        Some(Self(inner(&der).map_or_else(|| der.clone(), <[u8]>::to_vec)))
    }

    /// Verifies a signature in base64 over a text. Keys of 1024 bits are accepted: the original's clients have such
    /// keys, and the operator decides which keys are authorized.
    pub fn verifies(&self, text: &[u8], signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature.as_bytes()) else { return false };
        UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &self.0)
            .verify(text, &signature)
            .is_ok()
    }
}

/// Decodes the body of a PEM text.
fn body(pem: &str) -> Option<Vec<u8>> {
    BASE64.decode(bare(pem).as_bytes()).ok().filter(|der| !der.is_empty())
}

/// A PEM text without armour and white space: the same for two spellings of one key.
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

/// Splits off one DER value: its tag, its contents, and the bytes after it.
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

/// The keys of a hub: its own, and the authorized ones.
#[derive(Debug, Clone)]
pub struct HubKeys {
    /// The key pair of the hub.
    pub key_pair: Arc<KeyPair>,
    authorized: HashSet<String>,
}

impl HubKeys {
    /// Reads key files as the original's `listen` does: an object has `public` and `private`, an array contains the
    /// authorized public keys. `None` without files.
    pub fn read(files: &[PathBuf]) -> Result<Option<Self>, KeyFileError> {
        let (mut key_pair, mut authorized) = (None, HashSet::new());
        for path in files {
            let wrong = |problem: String| KeyFileError { path: path.clone(), problem };
            match load(path)? {
                Value::Array(keys) => {
                    for key in &keys {
                        let pem = key.as_str().or_else(|| key["public"].as_str());
                        let pem = pem.filter(|pem| PublicKey::parse(pem).is_some());
                        let pem = pem.ok_or_else(|| {
                            wrong("an array in a key file contains public keys as PEM texts, and nothing else".into())
                        })?;
                        authorized.insert(bare(pem));
                    }
                }
                value => key_pair = Some(pair(&value).map_err(wrong)?),
            }
        }
        match (key_pair, files.first()) {
            (Some(key_pair), _) => Ok(Some(Self { key_pair: Arc::new(key_pair), authorized })),
            (None, None) => Ok(None),
            (None, Some(path)) => Err(KeyFileError {
                path: path.clone(),
                problem: "no key file has the hub's own key; add an object with public and private".into(),
            }),
        }
    }

    /// Reports that the peer with this key may register and free. Without a list every peer with a key may.
    pub fn authorize(&self, pem: &str) -> bool {
        self.authorized.is_empty() || self.authorized.contains(&bare(pem))
    }
}

/// Reads one key pair: an object with `public` and `private`.
pub fn read_pair(path: &Path) -> Result<KeyPair, KeyFileError> {
    pair(&load(path)?).map_err(|problem| KeyFileError { path: path.to_owned(), problem })
}

fn pair(value: &Value) -> Result<KeyPair, String> {
    match (value["public"].as_str(), value["private"].as_str()) {
        (Some(public), Some(private)) => KeyPair::new(public, private),
        _ => Err("a key file has to contain an object with public and private, or an array of public keys".into()),
    }
}

fn load(path: &Path) -> Result<Value, KeyFileError> {
    let wrong = |problem: String| KeyFileError { path: path.to_owned(), problem };
    let length = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if length > FILE_MAX {
        return Err(wrong(format!("is {length} bytes; the limit for a key file is {FILE_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| wrong(format!("is not JSON: {e}")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A pair generated by `openssl genrsa 2048`, for tests only.
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
    fn invalid_keys_are_rejected_with_a_reason() {
        let [public, private] = PAIRS[0];
        assert!(KeyPair::new(PAIRS[1][0], private).unwrap_err().contains("does not belong to the private key"));
        assert!(KeyPair::new(public, public).unwrap_err().contains("cannot be used"));
        assert!(KeyPair::new(public, "x y").unwrap_err().contains("not a PEM text"));
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
        assert!(HubKeys::read(&[]).unwrap().is_none());
        let open = HubKeys::read(std::slice::from_ref(&hub)).unwrap().unwrap();
        assert!(open.authorize(other), "without a list every key is authorized");
        let keys = HubKeys::read(&[list.clone(), hub]).unwrap().unwrap();
        assert!(keys.authorize(public) && !keys.authorize(other) && !keys.authorize(""));
        assert!(keys.authorize(&public.replace('\n', " \r\n\r\n ")), "white space is ignored");
        assert!(HubKeys::read(&[list]).unwrap_err().to_string().contains("no key file has the hub's own key"));
        for bad in [serde_json::json!(7), serde_json::json!({"public": public}), serde_json::json!(["x y"])] {
            assert!(HubKeys::read(&[file("bad", &bad)]).is_err());
        }
    }
}
