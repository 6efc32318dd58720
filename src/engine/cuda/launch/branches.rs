//! Launches side by side: small ones leave most of a GPU idle, and each alone takes microseconds.

use super::{CudaError, Event, Stream};

/// Streams beside a GPU's main one, for work that waits for nothing of each other.
#[derive(Debug)]
pub struct Branches(Vec<Stream>);

impl Branches {
    /// For up to `count` pieces of work at a time; what is more goes behind the last.
    pub fn new(main: &Stream, count: usize) -> Result<Branches, CudaError> {
        // The main stream takes one.
        let others = (1..count).map(|_| main.device().stream());
        others.collect::<Result<_, _>>().map(Branches)
    }

    /// The streams for pieces of work that wait for all that was sent to `main` so far, and not for each other.
    ///
    /// In a capture they become branches of the graph. A stream that is watched takes them one after the other,
    /// for the time of each.
    pub fn fork<'a>(&'a self, main: &'a Stream) -> Result<Fork<'a>, CudaError> {
        let others = if main.is_watched() { &[] } else { &*self.0 };
        Ok(Fork { main, others, begun: main.event()?, sent: 0 })
    }
}

/// Work under way on several streams.
#[must_use = "what comes later does not wait for it before it is joined"]
pub struct Fork<'a> {
    main: &'a Stream,
    others: &'a [Stream],
    /// The moment that all pieces of work wait for.
    begun: Event,
    /// Pieces of work.
    sent: usize,
}

impl Fork<'_> {
    /// The stream for the next piece of work.
    pub fn branch(&mut self) -> Result<&Stream, CudaError> {
        let piece = self.sent;
        self.sent += 1;
        match piece.min(self.others.len()) {
            0 => Ok(self.main),
            place => {
                let other = &self.others[place - 1];
                if piece == place {
                    other.wait(&self.begun)?;
                }
                Ok(other)
            }
        }
    }

    /// Lets all later work of the main stream wait for every piece.
    pub fn join(self) -> Result<(), CudaError> {
        let used = self.sent.saturating_sub(1).min(self.others.len());
        self.others[..used].iter().try_for_each(|other| self.main.wait(&other.event()?))
    }
}
