//! What tests of several kinds stand on. Each test crate uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub mod etcd;
pub mod pki;
