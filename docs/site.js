// The theme searches in a worker, which browsers refuse to pages that are opened as files.
document.documentElement.classList.toggle("from-a-file", location.protocol === "file:");
