//! From the name of a run to its [`RunReader`], in steps: footer, header, directory, block table.

use super::directory::Directory;
use super::error::{Part, Place, RunError};
use super::extent::Extent;
use super::footer::{Footer, RunFile};
use super::header::RunHeader;
use super::locators::LocatorsBuilder;
use super::part_read::PartRead;
use super::pieces::Pieces;
use super::reader::RunReader;
use crate::types::FileOffset;

/// What was read so far.
pub(super) enum Opening {
    Start,
    Footer,
    Header(Footer),
    Directory(Footer, RunHeader),
    Locators(Footer, RunHeader, Directory),
    /// The block table is taken apart.
    Table(Footer, RunHeader, Directory, LocatorsBuilder, Pieces),
}

/// What a step came to.
// One of each a load, and not for long.
#[allow(clippy::large_enum_variant)]
pub(super) enum Opened {
    /// Read this, then step again with it.
    Part(Opening, PartRead),
    Working(Opening),
    Done(RunReader),
}

impl Opening {
    /// `part` is what the step before asked for.
    pub fn step(self, file: RunFile, part: Option<PartRead>) -> Result<Opened, RunError> {
        let place = |part, offset| Place { run: file.run, part, offset };
        let section = |part, extent: &Extent| PartRead::new(place(part, extent.offset), *extent);
        match (self, part) {
            (Opening::Footer, Some(part)) => {
                let footer = Footer::decode(&part.finish_sealed()?.concat(), file)?;
                let header = PartRead::page(place(Part::Header, FileOffset::ZERO));
                Ok(Opened::Part(Opening::Header(footer), header))
            }
            (Opening::Header(footer), Some(part)) => {
                let header = RunHeader::decode(&part.finish_sealed()?.concat(), &footer)?;
                let directory = section(Part::Directory, footer.directory());
                Ok(Opened::Part(Opening::Directory(footer, header), directory))
            }
            (Opening::Directory(footer, header), Some(part)) => {
                let place = place(Part::Directory, footer.directory().offset);
                let directory = Directory::decode_checked(place, &part.finish()?.concat(), &footer)?;
                let locators = section(Part::Locators, footer.locators());
                Ok(Opened::Part(Opening::Locators(footer, header, directory), locators))
            }
            (Opening::Locators(footer, header, directory), Some(part)) => {
                let table = part.finish()?;
                let place = place(Part::Locators, footer.locators().offset);
                let builder = LocatorsBuilder::new(place, table.len(), &footer)?;
                Ok(Opened::Working(Opening::Table(footer, header, directory, builder, table)))
            }
            (Opening::Table(footer, header, directory, mut builder, mut table), _) => {
                if let Some(piece) = table.take_first() {
                    builder.push(&piece)?;
                    return Ok(Opened::Working(Opening::Table(footer, header, directory, builder, table)));
                }
                RunReader::of_parts(footer, header, directory, builder.finish()?).map(Opened::Done)
            }
            (_, _) => {
                let footer = PartRead::page(place(Part::Footer, file.footer_offset()));
                Ok(Opened::Part(Opening::Footer, footer))
            }
        }
    }
}
