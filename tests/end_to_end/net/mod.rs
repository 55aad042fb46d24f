//! The HTTP side on real sockets: what peers get for good input, for bad input, and for dying.

mod descriptors;
mod fixture;
mod held;
mod http;
mod ops;
mod provide;
mod raw;
mod stop;
mod v1;
