//! The verbs on images, one file each, and how a word on the command line becomes an image.

pub mod images;
pub mod import;
pub mod inspect;
pub mod load;
pub mod resolve;
pub mod rmi;
pub mod save;
