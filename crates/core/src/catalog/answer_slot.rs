//! Bytes that a reader keeps with a node: what it worked out from the node and everything below it.
//!
//! A change below a node replaces the node, and with it goes what was kept: nothing has to be
//! invalidated, and nothing can be forgotten to be. Owns: the cells, and that a copy of a node begins
//! without any. Does not own: what the bytes mean, nor that they follow from the subtree alone; both are
//! the reader's affair (`skyhound_dns` keeps rendered answers).

use std::sync::OnceLock;

/// How many different things are kept with a node.
pub const CELLS: usize = 4;

/// The cells of one node. Nearly all nodes of a large tree are never asked for, so that an unused one
/// costs two words and the cells are made with the first use.
#[derive(Debug, Default)]
pub struct AnswerSlot(OnceLock<Box<[Cell; CELLS]>>);

type Cell = OnceLock<Box<[u8]>>;

impl AnswerSlot {
    /// What is in a cell.
    pub fn get(&self, cell: usize) -> Option<&[u8]> {
        Some(self.0.get()?.get(cell)?.get()?)
    }

    /// Fills a cell, once: of two readers that come at the same time one wins, and both are right.
    pub fn set(&self, cell: usize, bytes: Box<[u8]>) {
        if let Some(cell) = self.0.get_or_init(Box::default).get(cell) {
            let _ = cell.set(bytes);
        }
    }
}

impl Clone for AnswerSlot {
    /// Empty: a node is copied because something below it is about to change.
    fn clone(&self) -> Self {
        Self::default()
    }
}
