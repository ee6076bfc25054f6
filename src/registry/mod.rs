//! The network, so far as images need it: the distribution protocol, and one file by its URL. Knows no disk.
//!
//! [`Client`] is what all requests go through: it decides which scheme, certificates and proxy a host is spoken to with
//! ([`http`], [`address`]), follows redirects one by one, and shows credentials to nobody but the registry they are for
//! ([`auth`]). [`Repository`] is one repository of one registry and its mirrors: manifests, blobs, tags, uploads. A
//! registry is hostile: every answer is read bounded, every document and blob is compared with the digest it was asked
//! for by.
//!
//! The one room of async below `api`, and the only one that names tokio: [`runtime`] runs futures on the calling
//! thread, and starts no other, so that the caller may fork between and even during requests.

mod address;
pub mod answers;
mod auth;
mod blob;
mod challenge;
mod client;
mod download;
mod error;
mod http;
mod pages;
mod payload;
mod repository;
mod retry;
pub mod runtime;
mod search;
mod upload;

pub use blob::Sink;
pub use client::Client;
pub use download::{Download, download};
pub use error::{Error, Result};
pub use payload::Source;
pub use repository::{Found, Repository, Target};
pub use search::Hit;
pub use upload::{Arrival, Outgoing, Progress};
