//! The answer cache of one node: bytes that a reader derived from the node and everything below it.
//!
//! A change below a node replaces the node together with its cache, so no cache needs an invalidation that could be
//! forgotten. Owns: the cells, and that a copy of a node starts with empty ones. Does not own: the meaning of the bytes,
//! nor that they depend on nothing but the subtree; the reader ensures both (`skyhound_dns` stores rendered answers).

use std::sync::OnceLock;

/// The number of cells of a node.
pub const CELLS: usize = 4;

/// The cells of one node. Nearly all nodes of a large tree are never queried, so an unused slot costs two words, and the
/// first use allocates the cells.
#[derive(Debug, Default)]
pub struct AnswerSlot(OnceLock<Box<[Cell; CELLS]>>);

type Cell = OnceLock<Box<[u8]>>;

impl AnswerSlot {
    /// The contents of a cell.
    pub fn get(&self, cell: usize) -> Option<&[u8]> {
        Some(self.0.get()?.get(cell)?.get()?)
    }

    /// Fills an empty cell. Of two readers at the same time one wins, and both computed the same.
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
