//! The same tests on each store.

/// `module::name("--argument", …);` becomes a test in memory, one on disk and one in etcd.
#[macro_export]
macro_rules! on_every_store {
    ($($module:ident::$name:ident($($arg:literal),*);)*) => {
        mod memory { use super::*; $(
            #[$crate::multi_thread_test]
            async fn $name() { $module::$name($crate::site::Site::memory(&[$($arg),*]).await).await; }
        )* }
        mod disk { use super::*; $(
            #[$crate::multi_thread_test]
            async fn $name() { $module::$name($crate::site::Site::disk(&[$($arg),*]).await).await; }
        )* }
        mod etcd { use super::*; $(
            #[$crate::multi_thread_test]
            async fn $name() { $module::$name($crate::site::Site::etcd(&[$($arg),*]).await).await; }
        )* }
    };
}
