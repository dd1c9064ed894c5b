/** The camera: a live picture, and frames of it as images. The browser asks for permission. */

/** longer side of a frame, pixels */
const MAX_SIDE = 1280

/** Whether this browser can open a camera: without TLS only on localhost. */
export const hasCamera = navigator.mediaDevices?.getUserMedia !== undefined

/**
 * @param {HTMLVideoElement} video
 * @returns a camera that is closed
 */
export function createCamera(video) {
  const canvas = document.createElement('canvas')
  let stream

  return {
    /** @throws {Error} whose message says what to do */
    async open() {
      const wanted = { video: { facingMode: 'environment', width: { ideal: MAX_SIDE } } }
      stream = await navigator.mediaDevices.getUserMedia(wanted).catch(({ name }) => {
        if (name === 'NotAllowedError') {
          throw new Error('The camera is blocked: allow it in the address bar, or choose an image')
        }
        throw new Error('No camera is available: choose an image instead')
      })
      video.srcObject = stream
      await video.play()
    },
    close() {
      for (const track of stream?.getTracks() ?? []) track.stop()
      video.srcObject = stream = null
    },
    /** @returns {Promise<Blob>} a JPEG */
    frame() {
      const scale = Math.min(1, MAX_SIDE / Math.max(video.videoWidth, video.videoHeight))
      canvas.width = Math.round(video.videoWidth * scale)
      canvas.height = Math.round(video.videoHeight * scale)
      canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height)
      return new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.9))
    },
  }
}
