//! Content: archives to layers, layers to images, images to archives.

pub mod unpack;
