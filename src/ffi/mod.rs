//! Floor 6: the C face. The only `extern "C"` of the crate; checked pointers, a panic boundary,
//! no logic. The order of these modules is the order of the header.
#![allow(unsafe_code)] // pointers from C
#![allow(rustdoc::broken_intra_doc_links)] // the text is the header's

pub mod types;

pub mod library;

pub mod config;

pub mod instance;

pub mod listeners;

pub mod send;

pub mod conn;

pub mod flow;

pub mod matching;

pub mod blacklist;

pub mod stats;

pub mod dump;

pub mod plugin;

mod boundary;
/// cbindgen:ignore
#[cfg(crash_points)]
pub mod crash;
mod host;
mod kept;
