//! The keys that zones are signed with, in the two files that BIND writes for each.
//!
//! Owns: reading and writing those files, the DNSKEY and DS records of a key, and the signature of bytes. Does not own:
//! the signed records, and their validity (`sign`). The algorithms are those that ring signs with and RFC 8624 section
//! 3.1 still recommends: RSASHA256, ECDSAP256SHA256, ED25519. `SkyDNS`' examples have RSASHA1, which validators are
//! dropping: such a zone needs a new key.

use super::super::wire;
use data_encoding::BASE64;
use hickory_proto::dnssec::rdata::{DNSKEY, DS};
use hickory_proto::dnssec::{Algorithm, DigestType, PublicKey, PublicKeyBuf};
use hickory_proto::rr::Name as WireName;
use ring::error::KeyRejected;
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING as P256, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use skyhound_model::Name;
use std::path::{Path, PathBuf};

/// The flag of a zone key (RFC 4034 section 2.1.1). Without it a key signs no records.
const ZONE_KEY: u16 = 0x0100;
/// The flag of the key that the parent's DS refers to (SEP). It signs all records: one key for a zone is one thing to
/// maintain.
const SECURE_ENTRY_POINT: u16 = 0x0001;
/// The protocol of every DNSKEY (RFC 4034 section 2.1.2).
const PROTOCOL: &str = "3";
/// The maximum length of a zone's name that leaves room for the hashed names of denials below it: 32 bytes and their
/// length. Without the root's label, as hickory counts.
const ZONE_MAX: usize = 254 - 33;

/// The reason problem a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason. The text contains it, which is therefore no source.
        error: std::io::Error,
    },
    /// A file is invalid.
    #[error("{} {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The problem and the remedy.
        problem: String,
    },
}

/// A key and the zone that it signs.
pub struct ZoneKey {
    zone: Name,
    owner: WireName,
    dnskey: DNSKEY,
    tag: u16,
    private: PrivateKey,
}

enum PrivateKey {
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// A new key as the text of its two files.
#[derive(Debug)]
pub struct NewKey {
    /// The name of both files, without `.key` and `.private`.
    pub stem: String,
    /// The public file: the DNSKEY record.
    pub public: String,
    /// The private file.
    pub private: String,
    /// The DS record for the parent zone, in the form of zone files.
    pub ds: String,
}

impl ZoneKey {
    /// Loads a pair of files: `K<zone>+<algorithm>+<tag>`, followed by `.key`, `.private` or neither.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file = |extension: &str| {
            let has_extension = path.extension().is_some_and(|extension| extension == "key" || extension == "private");
            let mut stem = if has_extension { path.with_extension("") } else { path.to_owned() }.into_os_string();
            stem.push(extension);
            PathBuf::from(stem)
        };
        let (public, private) = (file(".key"), file(".private"));
        let invalid = |path: &PathBuf, problem: String| KeyError::Invalid { path: path.clone(), problem };
        let (zone, dnskey) = dnskey(&read(&public)?).map_err(|problem| invalid(&public, problem))?;
        Self::new(zone, dnskey, &read(&private)?).map_err(|problem| invalid(&private, problem))
    }

    fn new(zone: Name, dnskey: DNSKEY, private: &str) -> Result<Self, String> {
        let owner = wire::from_labels(zone.labels().iter());
        if owner.len() > ZONE_MAX {
            return Err(format!("is for a zone whose name exceeds {ZONE_MAX} bytes"));
        }
        let tag = dnskey.calculate_key_tag().map_err(|e| e.to_string())?;
        let private = PrivateKey::read(&dnskey, private)?;
        Ok(Self { zone, owner, dnskey, tag, private })
    }

    /// Generates a key. RSA is not supported: its signatures alone fill a datagram.
    pub fn generate(zone: &Name, algorithm: Algorithm) -> Result<NewKey, String> {
        let (private, public) = match algorithm {
            Algorithm::ECDSAP256SHA256 => new_p256(),
            Algorithm::ED25519 => new_ed25519(),
            _ => None,
        }
        .ok_or_else(|| format!("cannot generate a key of algorithm {algorithm}; use ECDSAP256SHA256 or ED25519"))?;
        let (number, flags) = (u8::from(algorithm), ZONE_KEY | SECURE_ENTRY_POINT);
        let dnskey = DNSKEY::with_flags(flags, PublicKeyBuf::new(public, algorithm));
        let public = BASE64.encode(dnskey.public_key().public_bytes());
        let private = format!(
            "Private-key-format: v1.3\nAlgorithm: {number} ({})\nPrivateKey: {}\n",
            algorithm.as_str(),
            BASE64.encode(&private)
        );
        // Parsed again, so that a mismatched pair is never returned.
        let key = Self::new(zone.clone(), dnskey, &private)?;
        Ok(NewKey {
            stem: format!("K{zone}+{number:03}+{:05}", key.tag),
            public: format!(
                "; Signs all records in {zone} Key tag {}. DS record for the parent zone:\n; {}\n{zone} IN DNSKEY {flags} {PROTOCOL} {number} {public}\n",
                key.tag,
                key.ds_line()
            ),
            private,
            ds: key.ds_line(),
        })
    }

    /// The zone that it signs.
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// The name of the zone in wire form, in lower case (RFC 6840 section 5.1).
    pub(super) fn owner(&self) -> &WireName {
        &self.owner
    }

    pub(super) fn dnskey(&self) -> &DNSKEY {
        &self.dnskey
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.dnskey.public_key().algorithm()
    }

    /// The key tag, which mostly distinguishes the keys of a zone (RFC 4034 appendix B).
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The DS record for the parent zone. SHA-256, which RFC 8624 section 3.3 requires.
    pub fn ds(&self) -> DS {
        let digest = self.dnskey.to_digest(&self.owner, DigestType::SHA256);
        // It fails for unsupported digests only; this one is supported.
        let digest = digest.map(|digest| digest.as_ref().to_vec()).unwrap_or_default();
        DS::new(self.tag, self.algorithm(), DigestType::SHA256, digest)
    }

    /// The DS record in the form of zone files.
    pub fn ds_line(&self) -> String {
        let ds = self.ds();
        let digest = data_encoding::HEXUPPER.encode(ds.digest());
        format!(
            "{} IN DS {} {} {} {digest}",
            self.zone,
            self.tag,
            u8::from(self.algorithm()),
            u8::from(ds.digest_type())
        )
    }

    /// Signs bytes.
    pub(super) fn sign(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.private {
            PrivateKey::Ecdsa(pair) => pair.sign(&random, bytes).ok().map(|signature| signature.as_ref().to_vec()),
            PrivateKey::Ed25519(pair) => Some(pair.sign(bytes).as_ref().to_vec()),
            PrivateKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).ok()?;
                Some(signature)
            }
        }
    }

    /// The length of its signatures.
    pub(super) fn signature_len(&self) -> usize {
        match &self.private {
            PrivateKey::Rsa(pair) => pair.public().modulus_len(),
            PrivateKey::Ecdsa(_) | PrivateKey::Ed25519(_) => 64,
        }
    }
}

/// Omits the private part, so that it never appears in a log.
impl std::fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZoneKey").field("zone", &self.zone).field("tag", &self.tag).finish_non_exhaustive()
    }
}

impl PartialEq for ZoneKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.zone, &self.dnskey) == (&other.zone, &other.dnskey)
    }
}

impl Eq for ZoneKey {}

impl PrivateKey {
    /// Parses the lines of a `.private` file.
    fn read(dnskey: &DNSKEY, text: &str) -> Result<Self, String> {
        let field = |name: &'static str| {
            let line = text.lines().filter_map(|line| line.split_once(':')).find(|(field, _)| *field == name);
            let value = line.ok_or_else(|| format!("has no {name}: line"))?.1.trim();
            BASE64.decode(value.as_bytes()).map_err(|_| format!("has no valid base64 after {name}:"))
        };
        let public = dnskey.public_key().public_bytes();
        let mismatch = |e: KeyRejected| format!("does not match the .key file next to it, or ring rejects it ({e})");
        match dnskey.public_key().algorithm() {
            Algorithm::ECDSAP256SHA256 => {
                // ring expects the point with the byte for "not compressed" (SEC 1 section 2.3.3).
                let point = [&[4], public].concat();
                EcdsaKeyPair::from_private_key_and_public_key(
                    &P256,
                    &field("PrivateKey")?,
                    &point,
                    &SystemRandom::new(),
                )
                .map(|pair| Self::Ecdsa(Box::new(pair)))
                .map_err(mismatch)
            }
            Algorithm::ED25519 => Ed25519KeyPair::from_seed_and_public_key(&field("PrivateKey")?, public)
                .map(|pair| Self::Ed25519(Box::new(pair)))
                .map_err(mismatch),
            Algorithm::RSASHA256 => {
                let components = KeyPairComponents {
                    public_key: PublicKeyComponents { n: field("Modulus")?, e: field("PublicExponent")? },
                    d: field("PrivateExponent")?,
                    p: field("Prime1")?,
                    q: field("Prime2")?,
                    dP: field("Exponent1")?,
                    dQ: field("Exponent2")?,
                    qInv: field("Coefficient")?,
                };
                if !public.ends_with(&components.public_key.n) {
                    return Err("does not match the .key file next to it".into());
                }
                RsaKeyPair::from_components(&components).map(|pair| Self::Rsa(Box::new(pair))).map_err(mismatch)
            }
            other => Err(format!("has algorithm {}; use RSASHA256, ECDSAP256SHA256 or ED25519", other.as_str())),
        }
    }
}

fn read(path: &Path) -> Result<String, KeyError> {
    std::fs::read_to_string(path).map_err(|error| KeyError::Unreadable { path: path.to_owned(), error })
}

/// Parses the one record of a `.key` file: `<zone> [TTL] [IN] DNSKEY <flags> 3 <algorithm> <base64, perhaps in
/// pieces>`.
fn dnskey(text: &str) -> Result<(Name, DNSKEY), String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(';'));
    let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
    let at = words.iter().position(|word| word.eq_ignore_ascii_case("DNSKEY"));
    let (Some(zone), Some(at)) = (words.first(), at) else { return Err("has no DNSKEY record".into()) };
    let [flags, protocol, algorithm, base64 @ ..] = &words[at + 1..] else {
        return Err("has an incomplete DNSKEY record".into());
    };
    let zone = Name::parse(zone).map_err(|e| format!("is for {zone:?}, which {e}"))?;
    let flags: u16 = flags.parse().map_err(|_| format!("has flags {flags:?}, which is not a number"))?;
    let algorithm: u8 = algorithm.parse().map_err(|_| format!("has algorithm {algorithm:?}, which is not a number"))?;
    if *protocol != PROTOCOL || flags & ZONE_KEY == 0 {
        return Err(format!("has no zone key (flag {ZONE_KEY}, protocol {PROTOCOL})"));
    }
    let key = BASE64.decode(base64.concat().as_bytes()).map_err(|_| "has no valid base64 at its end".to_owned())?;
    Ok((zone, DNSKEY::with_flags(flags, PublicKeyBuf::new(key, Algorithm::from_u8(algorithm)))))
}

/// Generates the scalar and the point of a new key. ring returns them in PKCS #8 only, in one fixed form (RFC 5915 in
/// RFC 5958); if that changed, the pair would not match, which [`ZoneKey::generate`] detects.
fn new_p256() -> Option<(Vec<u8>, Vec<u8>)> {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&P256, &SystemRandom::new()).ok()?;
    let bytes = pkcs8.as_ref();
    let scalar = bytes.get(36..68)?.to_vec();
    Some((scalar, bytes.get(bytes.len().checked_sub(64)?..)?.to_vec()))
}

fn new_ed25519() -> Option<(Vec<u8>, Vec<u8>)> {
    let mut seed = vec![0; 32];
    SystemRandom::new().fill(&mut seed).ok()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
    Some((seed, pair.public_key().as_ref().to_vec()))
}

#[cfg(test)]
impl ZoneKey {
    /// Generates a key for a zone, without files.
    pub(crate) fn for_zone(zone: &str, algorithm: Algorithm) -> Self {
        let new_key = Self::generate(&Name::parse(zone).unwrap(), algorithm).unwrap();
        let (zone, dnskey) = dnskey(&new_key.public).unwrap();
        Self::new(zone, dnskey, &new_key.private).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_key() -> (tempfile::TempDir, NewKey) {
        let dir = tempfile::tempdir().unwrap();
        let key = ZoneKey::generate(&Name::parse("skydns.test").unwrap(), Algorithm::ED25519).unwrap();
        (dir, key)
    }

    #[test]
    fn key_files_load_by_any_of_their_names() {
        let (dir, new_key) = new_key();
        let stem = dir.path().join(&new_key.stem);
        let path = |extension: &str| PathBuf::from(format!("{}{extension}", stem.display()));
        std::fs::write(path(".key"), &new_key.public).unwrap();
        std::fs::write(path(".private"), &new_key.private).unwrap();
        for extension in ["", ".key", ".private"] {
            let key = ZoneKey::load(&path(extension)).unwrap();
            assert_eq!((key.zone().to_string().as_str(), key.ds_line()), ("skydns.test.", new_key.ds.clone()));
        }
        std::fs::remove_file(path(".private")).unwrap();
        let error = ZoneKey::load(&stem).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.contains(".private"), "{error}");
    }

    #[test]
    fn errors_state_the_problem_of_a_key_file() {
        let (_, new_key) = new_key();
        let error_of = |public: &str, private: &str| {
            let key = dnskey(public).and_then(|(zone, dnskey)| ZoneKey::new(zone, dnskey, private));
            key.expect_err(public)
        };
        for (word, instead, problem) in [
            ("DNSKEY", "DS", "has no DNSKEY record"),
            (" 257 3 15 ", " 257 3 ", "has algorithm"),
            (" 257 ", " 1 ", "has no zone key"),
            (" 3 15 ", " 3 5 ", "has algorithm RSASHA1; "),
            (" 3 15 ", " 3 13 ", "does not match"),
        ] {
            let error = error_of(&new_key.public.replace(word, instead), &new_key.private);
            assert!(error.starts_with(problem), "{error}");
        }
        let (_, other) = self::new_key();
        assert!(error_of(&new_key.public, &other.private).starts_with("does not match"));
        assert_eq!(error_of(&new_key.public, "Algorithm: 15"), "has no PrivateKey: line");
        assert_eq!(error_of(&new_key.public, "PrivateKey: ?"), "has no valid base64 after PrivateKey:");
    }

    #[test]
    fn debug_output_hides_the_private_key() {
        let key = ZoneKey::for_zone("skydns.test", Algorithm::ECDSAP256SHA256);
        let expected = format!("ZoneKey {{ zone: Name({:?}), tag: {}, .. }}", key.zone().labels(), key.tag());
        let shown = format!("{key:?}");
        assert!(shown.starts_with("ZoneKey { zone: ") && shown.len() <= expected.len() + 20, "{shown}");
    }
}
