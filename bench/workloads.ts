/** The workloads of bench/peers.ts. */
import type { Kind } from './servers.ts'

export interface Workload {
  name: string
  title: string
  model: string
  kind: Kind
  /** per measurement */
  seconds: number
  /** before the first measurement: for so many seconds from each number of connections */
  warmUp: { seconds: number; connections: number[] }
}

/** Measurements of each number, of which the median counts. */
export const ROUNDS = 5

/** Compilers make the first seconds slow, and what 16 connections use is not what one uses. */
const warmUp = { seconds: 8, connections: [16, 1] }

export const WORKLOADS: Workload[] = [
  { name: 'a', title: 'MNIST, a tensor of 3 kB', model: 'mnist', kind: 'tensor', seconds: 2, warmUp },
  { name: 'b', title: 'MNIST, a PNG of 250 x 250', model: 'mnist', kind: 'image', seconds: 2, warmUp },
  {
    name: 'c1',
    title: 'MobileNetV3-Large, a JPEG of 1 megapixel',
    model: 'mobilenet_v3_large',
    kind: 'image',
    seconds: 4,
    warmUp,
  },
  {
    name: 'c2',
    title: 'ResNet-18, a JPEG of 1 megapixel',
    model: 'resnet18',
    kind: 'image',
    seconds: 4,
    warmUp,
  },
  {
    name: 'd',
    title: 'ResNet-50, a tensor of 602 kB',
    model: 'resnet50',
    kind: 'tensor',
    seconds: 6,
    warmUp,
  },
]
