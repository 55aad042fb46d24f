//! The same tests on each store.

/// `module::name("--argument", …);` becomes a test in memory, one on disk and one in etcd.
#[allow(unused_macros, reason = "some targets have a store of their own")]
macro_rules! on_every_store {
    ($($module:ident::$name:ident($($arg:literal),*);)*) => {
        mod memory { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { $module::$name(Site::memory(&[$($arg),*]).await).await; }
        )* }
        mod disk { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { $module::$name(Site::disk(&[$($arg),*]).await).await; }
        )* }
        mod etcd { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { $module::$name(Site::etcd(&[$($arg),*]).await).await; }
        )* }
    };
}

#[allow(unused_imports, reason = "as above")]
pub(crate) use on_every_store;
