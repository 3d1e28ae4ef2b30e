// The browser tests bring their own Chromium (see tests/browser), so installing the package downloads nothing.
module.exports = { skipDownload: true };
