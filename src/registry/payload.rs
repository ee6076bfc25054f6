//! What a request carries: a document, or a part of something long that is read while it is sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::RequestBuilder;

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// What an upload is read from: a blob that does not change.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Fills the whole buffer from `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A request's body. A clone is the same bytes from their beginning, so that a request can be repeated.
#[derive(Clone)]
pub(super) enum Payload {
    Document(Bytes),
    Part(Part),
}

/// The bytes of `source` from `begin` to `end`.
#[derive(Clone)]
pub(super) struct Part {
    pub source: Arc<dyn Source>,
    pub begin: u64,
    pub end: u64,
    /// Where whoever watches sees how far it is: the offset of the next byte.
    pub at: Arc<AtomicU64>,
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Document(bytes) => write!(f, "Document({} bytes)", bytes.len()),
            Self::Part(part) => write!(f, "Part({}..{})", part.begin, part.end),
        }
    }
}

impl Payload {
    /// `Content-Length: 0`, which some servers insist on.
    pub(super) fn nothing() -> Self {
        Self::Document(Bytes::new())
    }

    pub(super) fn attach(&self, builder: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Document(bytes) => builder.body(bytes.clone()),
            Self::Part(part) => {
                part.at.store(part.begin, Ordering::Relaxed);
                builder.body(reqwest::Body::wrap(Reading { part: part.clone(), next: part.begin }))
            }
        }
    }

    /// Changes while it is being sent.
    pub(super) fn sent(&self) -> u64 {
        match self {
            Self::Document(_) => 0,
            Self::Part(part) => part.at.load(Ordering::Relaxed),
        }
    }
}

/// A part on its way.
struct Reading {
    part: Part,
    next: u64,
}

impl Body for Reading {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let left = self.part.end.saturating_sub(self.next);
        if left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
        if let Err(e) = self.part.source.read_at(&mut piece, self.next) {
            return Poll::Ready(Some(Err(e)));
        }
        self.next += piece.len() as u64;
        self.part.at.store(self.next, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.part.end.saturating_sub(self.next))
    }
}
