//! The classes of ImageNet (ILSVRC 2012), in the order of a classifier's logits.

use std::sync::LazyLock;

/// The names of the 1000 classes, all different: those of torchvision, from `assets/imagenet`.
pub static CLASSES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("../../../assets/imagenet/classes.txt").lines().collect());

/// The name of a class, counted from 0; `None` where there are not so many.
pub fn class_name(class: usize) -> Option<&'static str> {
    CLASSES.get(class).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_are_those_of_torchvision() {
        assert_eq!(CLASSES.len(), 1000);
        let expected = [
            (0, "tench"),
            (134, "crane bird"),
            (207, "golden retriever"),
            (281, "tabby"),
            (517, "crane"),
            (638, "maillot"),
            (639, "maillot tank suit"),
            (999, "toilet tissue"),
        ];
        for (class, name) in expected {
            assert_eq!(class_name(class), Some(name), "class {class}");
        }
        assert_eq!(class_name(1000), None);
        assert!(CLASSES.iter().all(|name| !name.is_empty() && name.trim() == *name));
    }
}
