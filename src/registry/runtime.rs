//! Running futures: one thread, started by whoever needs it, gone when the future is done.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};

use super::{Error, Result};

pub(super) fn new() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)
}

/// Runs `future` to its end on this thread.
pub fn run<T>(future: impl Future<Output = T>) -> Result<T> {
    Ok(new()?.block_on(future))
}

pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Waits until `fd` has something to read, or its other end is closed. Within [`run`].
#[allow(
    deprecated,
    reason = "the descriptor is borrowed for longer than the registration lives, which is all that is asked"
)]
pub async fn readable(fd: impl AsFd) -> io::Result<()> {
    let fd = AsyncFd::with_interest(fd.as_fd(), Interest::READABLE)?;
    fd.readable().await.map(|_| ())
}

/// Lets other futures of this thread go on.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}

/// What comes first.
#[derive(Debug)]
pub enum Either<A, B> {
    First(A),
    Second(B),
}

/// Runs both until one is done; the other is dropped.
pub async fn first<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> Either<A, B> {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(a) = a.as_mut().poll(context) {
            return std::task::Poll::Ready(Either::First(a));
        }
        b.as_mut().poll(context).map(Either::Second)
    })
    .await
}

/// Runs all side by side. The first error ends the others.
pub async fn all<'a, T, E>(
    futures: impl IntoIterator<Item = Pin<Box<dyn Future<Output = std::result::Result<T, E>> + 'a>>>,
) -> std::result::Result<Vec<T>, E> {
    let mut running: Vec<_> = futures.into_iter().map(Some).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (slot, result) in running.iter_mut().zip(&mut done) {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(Ok(value)) => (*slot, *result) = (None, Some(value)),
                std::task::Poll::Ready(Err(e)) => return std::task::Poll::Ready(Err(e)),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(Ok(())) }
    })
    .await?;
    Ok(done.into_iter().flatten().collect())
}

/// So many at a time.
#[derive(Debug)]
pub struct Gate(tokio::sync::Semaphore);

impl Gate {
    pub fn new(places: usize) -> Self {
        Self(tokio::sync::Semaphore::new(places))
    }

    /// Waits for a place, which is free again when what is given back is dropped.
    pub async fn enter(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.0.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_waits_for_all_and_stops_at_an_error() {
        let wait = |ms: u64, value: std::result::Result<i32, &'static str>| {
            let future = async move {
                pause(Duration::from_millis(ms)).await;
                value
            };
            Box::pin(future) as Pin<Box<dyn Future<Output = std::result::Result<i32, &'static str>>>>
        };
        assert_eq!(run(all([wait(3, Ok(1)), wait(1, Ok(2))])).unwrap(), Ok(vec![1, 2]));
        let begin = std::time::Instant::now();
        assert_eq!(run(all([wait(60_000, Ok(1)), wait(1, Err("no"))])).unwrap(), Err("no"));
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_pipe_becomes_readable() {
        let (mut read, mut write) = std::io::pipe().unwrap();
        let waited = run(async {
            match first(readable(&read), pause(Duration::from_millis(5))).await {
                Either::First(_) => panic!("nothing was written"),
                Either::Second(()) => {}
            }
            std::io::Write::write_all(&mut write, b"x").unwrap();
            readable(&read).await
        });
        waited.unwrap().unwrap();
        std::io::Read::read_exact(&mut read, &mut [0]).unwrap();
    }
}
