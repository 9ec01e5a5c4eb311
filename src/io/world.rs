//! The real worlds by name: what the cores of a server run on.
//!
//! Must not know: what is done there.

use super::executor::Executor;
use super::uring::cores::{self, Core, CoreError, Described};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum World {
    #[default]
    Uring,
    #[cfg(feature = "glommio")]
    Glommio,
}

impl World {
    #[cfg(feature = "glommio")]
    pub const WANTED: &str = "uring or glommio";
    #[cfg(not(feature = "glommio"))]
    pub const WANTED: &str = "uring (glommio is in builds with `--features glommio` only)";

    pub fn parse(text: &str) -> Option<World> {
        match text {
            "uring" => Some(World::Uring),
            #[cfg(feature = "glommio")]
            "glommio" => Some(World::Glommio),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            World::Uring => "uring",
            #[cfg(feature = "glommio")]
            World::Glommio => "glommio",
        }
    }

    /// A driver for the calling thread.
    pub fn driver(self) -> Described {
        match self {
            World::Uring => cores::ring(),
            #[cfg(feature = "glommio")]
            World::Glommio => {
                let driver = super::glommio::GlommioDriver::new()?;
                Ok((Box::new(driver), "glommio: a poll for each receive, a sync after each write".to_owned()))
            }
        }
    }

    /// Starts a thread, pinned to the `core`th of the cores that this process may use, and runs `run` on it with an
    /// executor of its own.
    pub fn spawn_core<T, F>(self, core: Option<usize>, name: &str, run: F) -> Result<Core<T>, CoreError>
    where
        T: Send + 'static,
        F: FnOnce(Executor) -> T + Send + 'static,
    {
        cores::spawn_with(core, name, move || self.driver(), run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_called_by_its_name() {
        assert_eq!(World::parse(World::default().name()), Some(World::Uring));
        assert_eq!(World::parse("tokio"), None);
        match World::parse("glommio") {
            Some(world) => assert_eq!(world.name(), "glommio"),
            None => assert!(World::WANTED.contains("--features glommio"), "the way to have it is said"),
        }
    }
}
