//! The frontends with the real binary, their original clients and, where one exists, their original server.

// Modules share items with each other.
#![allow(unreachable_pub)]

mod hound_dog;
mod micro;
mod seaport;
mod srsr;
