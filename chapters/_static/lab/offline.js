// Keeps the lab working without a connection, once it was loaded from a web server. It answers from the network while
// there is one, and else with what it has seen. A full, broken or forbidden store never keeps a page from the reader.
// The build copies this file to the root of the site, so that it may serve all pages.
"use strict";

const STORE = "badnets-lab";
const worker = /** @type {SiteWorker} */ (/** @type {unknown} */ (self));

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

/** The page tells what it loaded before this worker was there. */
worker.addEventListener("message", (event) => {
  const kept = keepAll(event.data).catch(() => {}); // no room: the lab goes on with a connection
  event.waitUntil(kept.then(() => event.source.postMessage("kept")));
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(worker.location.origin)) return;
  event.respondWith(answer(event, request));
});

async function keepAll(addresses) {
  const store = await caches.open(STORE);
  await Promise.all(addresses.map((address) => store.add(address).catch(() => {})));
}

/** The network's answer, a copy of which is kept beside; without a network, the copy. */
async function answer(event, request) {
  try {
    const fresh = await fetch(request);
    if (fresh.ok) event.waitUntil(keep(request, fresh.clone()));
    return fresh;
  } catch (error) {
    const kept = await copyOf(request);
    if (kept) return kept;
    throw error;
  }
}

/** Keeps a copy; where that fails, no older one may be taken for it later. */
async function keep(request, response) {
  try {
    const store = await caches.open(STORE);
    await store.put(request, response).catch(() => store.delete(request));
  } catch {
    // no store in this browser: there is nothing to keep, and nothing old
  }
}

async function copyOf(request) {
  try {
    const store = await caches.open(STORE);
    return await store.match(request, { ignoreSearch: true });
  } catch {
    return undefined;
  }
}
