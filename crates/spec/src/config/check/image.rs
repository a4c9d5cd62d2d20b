//! The image of a service.

use super::super::kind::ProblemKind;
use super::super::problem::At;
use super::super::raw::RawService;
use super::super::read::Given;
use super::Check;
use crate::{ImageSource, Level, LevelChoice};

impl Check<'_> {
    /// The image, if one is named. Levels that show the files of the host have no place for one.
    pub(super) fn image(
        &mut self,
        given: Option<&Given<String>>,
        isolation: LevelChoice,
    ) -> Option<ImageSource> {
        let given = given?;
        if let LevelChoice::Fixed(level) = isolation
            && (level == Level::Wasm || !level.satisfies(Level::Container))
        {
            self.problem(&given.at, ProblemKind::ImageLevel(level));
        }
        if ImageSource::is_path(&given.value) || given.value.is_empty() {
            return self.path(given).map(ImageSource::Path);
        }
        let name = given.value.parse().map_err(|e| self.problem(&given.at, ProblemKind::Image(e)));
        name.ok().map(ImageSource::Name)
    }

    /// The command. With an image it may be left out, and the image's own is run.
    pub(super) fn command_or_image(&mut self, raw: &mut RawService, service: &At) -> Vec<String> {
        let args = raw.args.take().map(|list| list.value).unwrap_or_default();
        if raw.image.is_some() && raw.command.is_none() && args.is_empty() {
            return Vec::new();
        }
        self.command(raw.command.take(), args, service)
    }
}

/// The floor of a service with an image: at least the weakest level that has files of its own.
pub(super) fn floor_of_images(floor: Option<Level>) -> Option<Level> {
    Some(floor.filter(|floor| floor.satisfies(Level::Container)).unwrap_or(Level::Container))
}
