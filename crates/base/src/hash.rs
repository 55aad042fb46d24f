//! Mixing of 64 bits: splitmix64, implemented here because nodes of every version must agree on its results.

/// The odd constant of splitmix64: 2^64 divided by the golden ratio.
pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads each bit of the input over all bits of the output: the last step of splitmix64. Nodes compare its results,
/// so they must never change.
pub const fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Returns the number after `state` in the sequence of splitmix64.
pub const fn splitmix64(state: u64) -> u64 {
    mix(state.wrapping_add(GOLDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_matches_the_reference_sequence() {
        // The reference sequence for the seed 1234567.
        let seed = 1_234_567u64;
        let sequence: Vec<u64> = (0..3).map(|n| splitmix64(seed.wrapping_add(GOLDEN.wrapping_mul(n)))).collect();
        assert_eq!(sequence, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
